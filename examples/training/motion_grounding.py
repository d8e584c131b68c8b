"""The reading targets of mini-hunyuan: who is meant, and what has been said of it so far.

The encoder reads from left to right, so a token is only asked for what stands before it or in it:
its role (first actor, second, neither), and the colour, kind and action of its actor once they have
been said. The pooled text has to tell both actors.
"""

import torch
from grounding import IGNORED, Grounding

from zcache.models.mini import motion, motion_check

ATTRIBUTES = ("colour", "kind", "action")
VALUES = {
    "colour": tuple(motion.COLOURS),
    "kind": motion.KINDS,
    "action": tuple(motion.ACTIONS),
}
MARK = "\u2581"  # what a word begins with in the Llama's vocabulary


def of_clips(width: int, tokenizer: object, captions: list[str], ids: torch.Tensor) -> Grounding:
    """The heads and targets for clips; `ids` are the tokens (captions, L) of the prompt itself."""
    sizes = [3, *(len(VALUES[name]) for name in ATTRIBUTES)]
    parsed = [motion_check.read(caption) for caption in captions]
    spoken = [tokenizer.convert_ids_to_tokens(row) for row in ids[: len(parsed)].tolist()]
    tokens = [_of_tokens(said, actors) for said, actors in zip(spoken, parsed, strict=True)]
    return Grounding(width, sizes, 2 * sizes[1:], tokens, [_of_clip(a) for a in parsed])


def _of_clip(actors: tuple[motion.Actor, ...]) -> list[int]:
    nothing = [IGNORED] * len(ATTRIBUTES)
    return [*_classes(actors[0]), *(_classes(actors[1]) if len(actors) > 1 else nothing)]


def _classes(actor: motion.Actor) -> list[int]:
    return [VALUES[name].index(getattr(actor, name)) for name in ATTRIBUTES]


def _of_tokens(tokens: list[str], actors: tuple[motion.Actor, ...]) -> list[list[int]]:
    role, rows, said = 0, [], ""
    for token in tokens:
        word = token.removeprefix(MARK).lower()
        if token.startswith("<|") or word in (".", ""):
            rows.append([IGNORED] * (1 + len(ATTRIBUTES)))
            continue
        if word == "while":
            role, said = 1, ""
            rows.append([2, *[IGNORED] * len(ATTRIBUTES)])
            continue
        said = f"{said} {word}"
        actor = actors[role]
        known = (
            actor.colour in said.split(),
            actor.kind in said.split(),
            said.endswith(motion.ACTIONS[actor.action][0]),
        )
        classes = [c if k else IGNORED for c, k in zip(_classes(actor), known, strict=True)]
        rows.append([role, *classes])
    return rows
