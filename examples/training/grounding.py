"""Teaches the text encoders which words belong together, as pretraining on text does for large ones.

Every token has to tell its role (first group, second group, neither) and its group's colour, kind, count and size;
the pooled text has to tell both groups, their relation and the background. The heads are thrown away afterwards.
"""

import torch
from torch import nn

from zcache.mini import check, scenes

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
    """Heads on both encoders, and the targets of every caption."""

    def __init__(
        self, width: int, tokenizer: object, captions: list[str], ids: torch.Tensor
    ) -> None:
        super().__init__()
        sizes = [3, *(len(VALUES[name]) for name in ATTRIBUTES)]
        self.token_heads = nn.ModuleList(nn.Linear(width, size) for size in sizes)
        pooled = [*sizes[1:], *sizes[1:], len(RELATIONS), *map(len, BACKGROUND.values())]
        self.pooled_heads = nn.ModuleList(nn.Linear(width, size) for size in pooled)
        parsed = [check.read(caption) for caption in captions]
        spoken = [tokenizer.convert_ids_to_tokens(row) for row in ids.tolist()]
        tokens = [_of_tokens(said, scene) for said, scene in zip(spoken, parsed, strict=False)]
        nothing = [[IGNORED] * len(pooled)], [[[IGNORED] * len(sizes)] * ids.shape[1]]
        self.register_buffer("tokens", torch.tensor(tokens + nothing[1]), persistent=False)
        self.register_buffer(
            "pooled", torch.tensor([_of_scene(s) for s in parsed] + nothing[0]), persistent=False
        )

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
