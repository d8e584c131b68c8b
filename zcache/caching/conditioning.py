"""Whether the conditioning of a denoiser's calls became another one in the middle of a run.

Shapes do not tell: a callback may put other prompt embeddings of the same shape in place of the first. What a
pipeline prepares once it hands on at every step as the very same tensors; so where one of them has come twice and
then does not, or was written into, features of before belong to another picture. So they do where two tensors come
by turns, as in a loop that alternates between two prompts. No values are compared, and nothing waits for a device."""

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
        self._before: list[Seen] = []  # at the call before that
        self._same: list[bool] = []

    def see(self, flat: list[Any]) -> int:
        """How often it has changed, this call's arguments looked at."""
        tensors = [leaf for leaf in flat if isinstance(leaf, Tensor)]
        if len(tensors) != len(self._seen):
            self._before, self._same = [], [False] * len(tensors)
        else:
            same = [_is(*pair) for pair in zip(tensors, self._seen, strict=True)]
            replaced = any(was and not now for was, now in zip(self._same, same, strict=True))
            self.changes += replaced or self._by_turns(tensors, same)
            self._before, self._same = self._seen, same
        self._seen = [_seen(tensor) for tensor in tensors]
        return self.changes

    def _by_turns(self, tensors: list[Tensor], same: list[bool]) -> bool:
        """Whether a tensor comes that another one stood in for at the last call."""
        back = [_is(*pair) for pair in zip(tensors, self._before, strict=False)]
        return any(was and not now for was, now in zip(back, same, strict=False))


def _seen(tensor: Tensor) -> Seen:
    return weakref.ref(tensor), version(tensor)


def _is(tensor: Tensor, seen: Seen) -> bool:
    reference, writes = seen
    return reference() is tensor and version(tensor) == writes
