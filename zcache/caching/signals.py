"""TeaCache's signals: what the first block makes of the latent before it attends, without a block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def first_norm(
    block: Any, hidden: Tensor, head: tuple[Any, ...], call: Mapping[str, Any]
) -> Tensor:
    """Image tokens through the first block's adaptive norm: normalised, scaled, shifted."""
    return block.norm1(hidden, emb=head[0])[0]


def first_norm_hunyuan(
    block: Any, hidden: Tensor, head: tuple[Any, ...], call: Mapping[str, Any]
) -> Tensor:
    """As `first_norm`. In image-to-video the given frame's modulation never changes; it is left out
    by letting the other frames' stand for it."""
    if type(block.norm1).__name__.startswith("HunyuanVideoTokenReplace"):
        return block.norm1(hidden, head[0], head[0], 0)[0]
    return first_norm(block, hidden, head, call)


def first_norm_dit(
    block: Any, hidden: Tensor, head: tuple[Any, ...], call: Mapping[str, Any]
) -> Tensor:
    """DiT's norm embeds timestep and label itself."""
    return block.norm1(hidden, call["timestep"], call["class_labels"], hidden_dtype=hidden.dtype)[0]
