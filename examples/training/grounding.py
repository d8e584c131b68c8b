"""Teaches text encoders which words belong together, as pretraining on text does for large ones.

`Grounding` is a set of linear heads that are thrown away after training: every token has to tell
what it is about, the pooled text what is in the whole caption. `of_scenes` makes the targets for
mini-flux: a token tells its role (first group, second group, neither) and its group's colour, kind,
count and size; the pooled text both groups, their relation and the background. `motion_grounding.py`
makes them for mini-hunyuan.
"""

import copy
import logging

import torch
from torch import nn

from zcache.models.mini import check, scenes

logger = logging.getLogger("grounding")

IGNORED = -100
ATTRIBUTES = ("colour", "kind", "count", "size")
VALUES = {
    "colour": tuple(scenes.COLOURS),
    "kind": scenes.KINDS,
    "count": (1, 2, 3),
    "size": ("small", None, "large"),
}
RELATIONS = (None, *scenes.RELATIONS)
BACKGROUND = {"tone": tuple(scenes.TONES), "texture": scenes.TEXTURES}
RELATION_WORDS = {word for relation in scenes.RELATIONS for word in relation.split()}


class Grounding(nn.Module):
    """Heads on both encoders, and the targets of every caption.

    Args:
        width: of the states and of the pooled text.
        token_sizes: number of classes of each head on a token.
        pooled_sizes: number of classes of each head on the pooled text.
        tokens: target classes, one row per caption, token and head; IGNORED where there is none.
        pooled: target classes, one row per caption and head.
    """

    def __init__(
        self,
        width: int,
        token_sizes: list[int],
        pooled_sizes: list[int],
        tokens: list[list[list[int]]],
        pooled: list[list[int]],
    ) -> None:
        super().__init__()
        self.token_heads = nn.ModuleList(nn.Linear(width, size) for size in token_sizes)
        self.pooled_heads = nn.ModuleList(nn.Linear(width, size) for size in pooled_sizes)
        # The last row is the empty caption.
        tokens = [*tokens, [[IGNORED] * len(token_sizes)] * len(tokens[0])]
        pooled = [*pooled, [IGNORED] * len(pooled_sizes)]
        self.register_buffer("tokens", torch.tensor(tokens), persistent=False)
        self.register_buffer("pooled", torch.tensor(pooled), persistent=False)

    def forward(
        self, pooled: torch.Tensor, states: torch.Tensor, rows: torch.Tensor
    ) -> torch.Tensor:
        """Mean cross-entropy of all heads; `pooled` (B, D), `states` (B, L, D), `rows` the captions' indices."""
        losses = [
            _entropy(head(states), self.tokens[rows][..., index])
            for index, head in enumerate(self.token_heads)
        ]
        losses += [
            _entropy(head(pooled), self.pooled[rows][..., index])
            for index, head in enumerate(self.pooled_heads)
        ]
        return torch.stack(losses).mean()


def of_scenes(width: int, tokenizer: object, captions: list[str], ids: torch.Tensor) -> Grounding:
    """The heads and targets for scenes; `ids` are the tokens (captions, L) of the long text."""
    sizes = [3, *(len(VALUES[name]) for name in ATTRIBUTES)]
    pooled_sizes = [*sizes[1:], *sizes[1:], len(RELATIONS), *map(len, BACKGROUND.values())]
    parsed = [check.read(caption) for caption in captions]
    spoken = [tokenizer.convert_ids_to_tokens(row) for row in ids[: len(parsed)].tolist()]
    tokens = [_of_tokens(said, scene) for said, scene in zip(spoken, parsed, strict=True)]
    return Grounding(width, sizes, pooled_sizes, tokens, [_of_scene(s) for s in parsed])


def learn_to_read(
    flow: nn.Module, grounding: Grounding, captions: object, count: int, steps: int
) -> None:
    """Trains both encoders on text alone; what they said before is kept as near as can be.

    `flow.read(*captions[rows])` gives the pooled text and the states; `count` captions are known.
    """
    encoders = [*flow.text_encoder.parameters(), *flow.text_encoder_2.parameters()]
    learnt = [weight for weight in encoders if weight.requires_grad]
    stepper = torch.optim.AdamW([*learnt, *grounding.parameters()], lr=2e-3, betas=(0.9, 0.98))
    before = copy.deepcopy(flow).requires_grad_(False)
    for step in range(steps):
        stepper.param_groups[0]["lr"] = 2e-3 * min(1.0, (step + 1) / 50, 4 * (1 - step / steps))
        rows = torch.randint(count, (64,))
        pooled, states = flow.read(*captions[rows])
        with torch.no_grad():
            old_pooled, old_states = before.read(*captions[rows])
        drift = (pooled - old_pooled).square().mean() + (states - old_states).square().mean()
        loss = grounding(pooled, states, rows)
        (loss + 0.1 * drift).backward()
        stepper.step()
        stepper.zero_grad()
        if step % 100 == 0 or step == steps - 1:
            logger.info("reading %d  loss %.4f  drift %.4f", step, loss.item(), drift.item())


def _entropy(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    flat = targets.flatten()
    total = nn.functional.cross_entropy(
        scores.float().flatten(0, -2), flat, ignore_index=IGNORED, reduction="sum"
    )
    return total / (flat != IGNORED).sum().clamp_min(1)


def _group(group: scenes.Group) -> list[int]:
    return [VALUES[name].index(getattr(group, name)) for name in ATTRIBUTES]


def _of_scene(scene: scenes.Scene) -> list[int]:
    first, second = _group(scene.groups[0]), [IGNORED] * len(ATTRIBUTES)
    if len(scene.groups) > 1:
        second = _group(scene.groups[1])
    ground = [values.index(getattr(scene, name)) for name, values in BACKGROUND.items()]
    return [*first, *second, RELATIONS.index(scene.relation), *ground]


def _of_tokens(tokens: list[str], scene: scenes.Scene) -> list[list[int]]:
    role, rows = 0, []
    for token in tokens:
        word = token.lstrip("\u2581").lower()
        if word in ("<pad>", "</s>", "."):
            rows.append([IGNORED] * (1 + len(ATTRIBUTES)))
            continue
        if word == "on":
            role = 2
        said = role
        if word in RELATION_WORDS and role < 2:
            role, said = 1, 2
        known = _group(scene.groups[said]) if said < 2 else [IGNORED] * len(ATTRIBUTES)
        rows.append([said, *known])
    return rows
