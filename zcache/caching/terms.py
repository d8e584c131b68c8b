"""What guidance may add up: the outputs of a step's denoiser calls, in the scheduler's shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

Outputs = Sequence[Sequence[Tensor]]  # leaves of every call of one step


def terms(outputs: Outputs, like: Tensor, halves: bool = True) -> Iterator[Tensor]:
    """Return what guidance may add up, in the shape of `like`: outputs, chunks, and, with `halves`,
    the halves of a batch repeated (DiT guides one half by the other)."""
    return (part() for part in parts(outputs, like, halves))


def parts(outputs: Outputs, like: Tensor, halves: bool = True) -> Iterator[Callable[[], Tensor]]:
    """`terms`, each made only when it is called."""
    for leaves in outputs:
        if (items := _items(leaves, like)) is not None:
            yield from (partial(_same, item) for item in items)
            continue
        for leaf in leaves:
            yield from _of(leaf, like, halves)


def _same(term: Tensor) -> Tensor:
    return term


def _doubled(half: Tensor) -> Tensor:
    return torch.cat([half, half])


def _items(leaves: Sequence[Tensor], like: Tensor) -> Sequence[Tensor] | None:
    """Outputs that come one by one for each picture of the batch (Z-Image), put together again; None if
    they do not."""
    one = [size for size in like.shape[1:] if size != 1]
    if not leaves or len(leaves) % like.shape[0] or any(leaf.ndim < 2 for leaf in leaves):
        return None
    if len(leaves) == 1 and leaves[0].shape == like.shape:
        return None
    if any([size for size in leaf.shape if size != 1] != one for leaf in leaves):
        return None
    joined = torch.stack([leaf.reshape(like.shape[1:]) for leaf in leaves])
    return joined.chunk(len(leaves) // like.shape[0])


def _of(leaf: Tensor, like: Tensor, halves: bool) -> Iterator[Callable[[], Tensor]]:
    if leaf.ndim == like.ndim - 1:
        leaf = leaf[None]
    if leaf.ndim != like.ndim:
        return
    for dim in range(1, like.ndim):
        surplus = leaf.shape[dim] - like.shape[dim]
        if surplus > 0:  # conditioning joined before the sample or behind it
            for start in (0, surplus):
                yield from _of(leaf.narrow(dim, start, like.shape[dim]), like, halves)
            return
    batch, wanted = leaf.shape[0], like.shape[0]
    if leaf.shape[1:] != like.shape[1:] or batch % wanted:
        return
    if batch != wanted:
        yield from (partial(_same, part) for part in leaf.chunk(batch // wanted))
        return
    yield partial(_same, leaf)
    if halves and wanted % 2 == 0:
        yield from (partial(_doubled, half) for half in leaf.chunk(2))
