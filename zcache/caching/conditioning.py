"""Whether the conditioning of a denoiser's calls became another one in the middle of a run.

Shapes do not tell: a callback may put other prompt embeddings of the same shape in place of the first. What a
pipeline prepares once it hands on at every step as the very same tensors; so where one of them has come twice and
then does not, or was written into, features of before belong to another picture. No values are compared, and
nothing waits for a device."""

from __future__ import annotations

import weakref
from typing import Any

from torch import Tensor

from .features import version

Seen = tuple[weakref.ref[Tensor], int | None]  # a tensor, and the writes into it


class Conditioning:
    """The tensors of one branch's calls, step after step."""

    def __init__(self) -> None:
        self.changes = 0
        self._seen: list[Seen] = []
        self._same: list[bool] = []

    def see(self, flat: list[Any]) -> int:
        """How often it has changed, this call's arguments looked at."""
        tensors = [leaf for leaf in flat if isinstance(leaf, Tensor)]
        if len(tensors) != len(self._seen):
            self._seen, self._same = [_seen(tensor) for tensor in tensors], [False] * len(tensors)
            return self.changes
        same = [_is(*pair) for pair in zip(tensors, self._seen, strict=True)]
        self.changes += any(was and not now for was, now in zip(self._same, same, strict=True))
        self._seen, self._same = [_seen(tensor) for tensor in tensors], same
        return self.changes


def _seen(tensor: Tensor) -> Seen:
    return weakref.ref(tensor), version(tensor)


def _is(tensor: Tensor, seen: Seen) -> bool:
    reference, writes = seen
    return reference() is tensor and version(tensor) == writes
