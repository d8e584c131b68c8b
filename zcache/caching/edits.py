"""What a pipeline or a callback does to the latent between two steps.

Going back repeats it: what was written over is written again, what was added is added. A latent that is mixed with
another one (a mask between 0 and 1) is changed by a part of what it was, so neither is right: of a flow, that
shows in how the latent's path bends. What is written over it, be it noise added to a picture, goes straight."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

MIXED = "the pipeline mixes the latent with another one between two steps: reflected to first order"
COUNT = 4  # edits that are looked at
LEAST = 0.02  # share of the latent's elements, below which none is called mixed
BENT = 1e-3  # relative to the path's speed: less bend than that tells nothing
NEAR = 0.02
KEPT = 0.05  # share of the elements that inpainting leaves; of a sum, rounding leaves fewer
COARSER = (torch.bfloat16, torch.float16)  # a latent may go through these between two steps

Edit = tuple[float, Tensor, Tensor]  # noise level, latent before and after


def repeated(latent: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """What was done to the latent `before`, done to another one. Where it left a part of the values as they
    were, the others were replaced, whatever stood there (inpainting keeps the picture outside its mask); where
    it left none, it is taken for an addition."""
    before = before.to(after.dtype)
    changed = after != before
    for coarser in COARSER:
        changed &= after != before.to(coarser).to(after.dtype)
    added = latent.to(after.dtype) + (after - before)
    is_in_part = (~changed).float().mean() > KEPT
    return torch.where(changed & is_in_part, after, added)


class Edits:
    """The first edits of a run."""

    def __init__(self) -> None:
        self._seen: list[Edit] | None = []

    def see(self, level: float, before: Tensor, after: Tensor) -> bool:
        """Look at an edit. Returns True once, where it is the last one needed to show that the latent is being
        mixed; waits for the device then. A level above 1 is no flow's."""
        if self._seen is None or before.shape != after.shape or level > 1:
            return False
        self._seen.append((level, before, after))
        if len(self._seen) < COUNT:
            return False
        edits, self._seen = self._seen, None
        return _is_mixed(edits)


def _is_mixed(edits: Sequence[Edit]) -> bool:
    """Whether elements of the latent kept one and the same part of every bend, neither all nor nothing."""
    levels = [level for level, _, _ in edits]
    before = _bends(levels, [before.float() for _, before, _ in edits])
    after = _bends(levels, [after.float() for _, _, after in edits])
    speed = (edits[-1][1].float() - edits[0][1].float()).abs().mean() / (levels[0] - levels[-1])
    one, other = after / before
    told = before.abs().amin(dim=0) > BENT * speed
    kept = told & ((one - other).abs() < NEAR) & (one > 2 * NEAR) & (one < 1 - 2 * NEAR)
    return bool(kept.float().mean() > LEAST)


def _bends(levels: Sequence[float], path: Sequence[Tensor]) -> Tensor:
    """The changes of a path's slope over the noise level, at every point within."""
    steps = torch.tensor(levels, device=path[0].device).diff()
    slopes = torch.stack(list(path)).diff(dim=0) / steps.view(-1, *[1] * path[0].ndim)
    return slopes.diff(dim=0)
