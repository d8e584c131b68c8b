"""Whether the conditioning of a denoiser's calls became another one in the middle of a run.

Shapes do not tell: a callback may put other prompt embeddings of the same shape in place of the first, and a call
that is left out or added makes another prompt of every one behind it. What a pipeline prepares once it hands on at
every step as the very same tensors, or as the same views; so where one of them has come twice and then does not, or
was written into, features of before belong to another picture. So they do where two tensors come by turns, as in a
loop that alternates between two prompts, and where a tensor comes that was another branch's at the last step. No
values are compared, and nothing waits for a device."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from .features import version

Key = tuple[int, int]  # id of the denoiser, ordinal of the call within its step


class Seen:
    """A tensor of a call, which is not kept alive.

    Attributes:
        content: equal of two tensors that show the same part of a storage, with nothing written between.
    """

    def __init__(self, tensor: Tensor) -> None:
        self.reference = weakref.ref(tensor)
        self._writes = version(tensor)
        self.content = (_place(tensor), self._writes)

    def is_of(self, tensor: Tensor) -> bool:
        """Whether it is of this very tensor, into which nothing was written since."""
        return self.reference() is tensor and self._writes == version(tensor)


def _place(tensor: Tensor) -> Any:
    """Where a tensor stands; equal to that of no other one that has no storage."""
    try:
        storage = StorageWeakRef(tensor.untyped_storage())
    except RuntimeError:  # sparse
        return object()
    return storage, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype


@dataclass
class Branch:
    """The tensors of one branch's calls, step after step."""

    changes: int = 0
    last: list[Seen] = field(default_factory=list)
    before: list[Seen] = field(default_factory=list)  # at the call before that
    same: list[bool] = field(default_factory=list)

    def seen(self, tensors: list[Tensor]) -> list[Seen]:
        """The tensors of a call; those that stand where they stood are what they were at the last one."""
        known = zip_longest(tensors, self.last[: len(tensors)])
        return [x if x is not None and x.is_of(tensor) else Seen(tensor) for tensor, x in known]

    def see(self, given: list[Seen], was_of_another: bool) -> bool:
        """Whether what a call is given is another conditioning than that of the call before."""
        changed = False
        if len(given) != len(self.last):
            self.before, self.same = [], [False] * len(given)
        else:
            same = _are(given, self.last)
            replaced = any(was and not now for was, now in zip(self.same, same, strict=True))
            changed = replaced or was_of_another or self._by_turns(given, same)
            self.before, self.same = self.last, same
        self.last = given
        self.changes += changed
        return changed

    def _by_turns(self, given: list[Seen], same: list[bool]) -> bool:
        """Whether a tensor comes that another one stood in for at the last call."""
        back = _are(given, self.before)
        return any(was and not now for was, now in zip(back, same, strict=False))


def _are(given: Sequence[Seen], others: Sequence[Seen]) -> list[bool]:
    pairs = zip(given, others, strict=False)
    return [one is other or one.content == other.content for one, other in pairs]


class Conditioning:
    """The tensors of the calls of a run.

    Attributes:
        mistaken: the branches of this step that were called with another one's tensors, which only later calls
            of the step have shown.
    """

    def __init__(self) -> None:
        self.mistaken: set[Key] = set()
        self._branches: dict[Key, Branch] = {}
        self._last_step: dict[Key, set[Any]] = {}
        self._step: dict[Key, set[Any]] = {}
        self._changed: set[Key] = set()  # in this step

    def end_step(self) -> None:
        """What is called from here on belongs to the next step."""
        self._last_step, self._step = self._step, {}
        self.mistaken, self._changed = set(), set()

    def see(self, key: Key, flat: list[Any]) -> int:
        """How often a branch's conditioning has changed, its call's arguments looked at."""
        branch = self._branches.setdefault(key, Branch())
        given = branch.seen([leaf for leaf in flat if isinstance(leaf, Tensor)])
        self._step[key] = contents = {each.content for each in given}
        strange = contents - {each.content for each in branch.last}
        of_others = {
            other: tensors & strange
            for other, tensors in self._last_step.items()
            if other != key and other[0] == key[0] and not tensors.isdisjoint(strange)
        }
        if branch.see(given, bool(of_others)):
            self._changed.add(key)
        for other in (of_others.keys() & self._step.keys()) - self._changed:
            if not of_others[other] <= self._step[other]:
                self._branches[other].changes += 1
                self._changed.add(other)
                self.mistaken.add(other)
        return branch.changes
