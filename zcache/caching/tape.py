"""A cached pass as a line of torch calls, played without the modules.

Between the latent and the output of a cached pass there are a dozen torch calls, and around them ten times
as much Python. What depends on neither the latent nor the feature nor anything else that changed since the
call before (the prompt, tables, embeddings of the guidance) is a constant of the tape; what depends on the
step alone (the timestep's embedding) is played once a step, however often the step is taken again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# What a tensor depends on: nothing that changes, the step, the latent.
CONSTANT, STEP, LIVE = range(3)


@dataclass(frozen=True)
class Slot:
    """Stands for a tensor in the arguments of a recorded call."""

    index: int


@dataclass
class Op:
    """One torch call. `flat`: places of slots among the arguments; `nested`: whether there are others."""

    kind: int
    function: Any
    args: list[Any]
    kwargs: dict[str, Any]
    reads: frozenset[int]
    writes: tuple[int, ...]
    several: bool
    flat: tuple[tuple[int, int], ...]
    nested: bool
    last_reads: tuple[int, ...] = ()

    def play(self, values: list[Any]) -> None:
        """Call it on the slots' values, and put its results there."""
        if self.nested:
            args, kwargs = _filled(self.args, values), _filled(self.kwargs, values)
        else:
            args, kwargs = self.args.copy(), self.kwargs
            for place, index in self.flat:
                args[place] = values[index]
        result = self.function(*args, **kwargs)
        if self.several:
            for index, tensor in zip(self.writes, result, strict=True):
                values[index] = tensor
        else:
            values[self.writes[0]] = result
        for index in self.last_reads:
            values[index] = None


class Recording:
    """Torch calls in order, and what is known of the tensors between them, by slots."""

    def __init__(self) -> None:
        super().__init__()
        self.ops: list[Op] = []
        self.values: list[Tensor | None] = []  # the constants alone are kept alive
        self.kinds: list[int] = []
        self.read: set[int] = set()
        self.made: set[int] = set()
        self._slots: dict[int, int] = {}  # by id, of tensors that are alive

    def slots(self, tensors: Iterable[Tensor]) -> tuple[int, ...]:
        """The slots of tensors that were given or made."""
        return tuple(self._slots[id(tensor)] for tensor in tensors)


class Tape:
    """The calls of a recording that its outputs need.

    Args:
        steps: what is given once a step.
        lives: what is given at every play: latents and features.
        outputs: what the calls led to.
    """

    def __init__(
        self,
        recording: Recording,
        steps: Sequence[Tensor],
        lives: Sequence[Tensor],
        outputs: Sequence[Tensor],
    ) -> None:
        kinds, values = recording.kinds, recording.values
        self._lives, self._outputs = recording.slots(lives), recording.slots(outputs)
        needed, played = set(self._outputs), []
        for op in sorted(recording.ops, key=lambda op: op.kind)[::-1]:  # a step's calls come first
            if needed & set(op.writes):
                op.last_reads = tuple(i for i in op.reads - needed if kinds[i] != CONSTANT)
                needed |= op.reads
                played.append(op)
        self._folded, self._per_step, self._live = (
            [op for op in reversed(played) if op.kind == kind] for kind in (CONSTANT, STEP, LIVE)
        )
        self._steps = [(n, i) for n, i in enumerate(recording.slots(steps)) if i in needed]
        read = {i for op in (*self._per_step, *self._live) for i in op.reads}
        self._read = {i for i in read if kinds[i] == CONSTANT}
        self._of_step = [i for i in read if kinds[i] == STEP]
        written = {i for op in self._folded for i in op.writes}
        self._sources = [None if i in written else x for i, x in enumerate(values)]
        made_of = {i for i in recording.read - recording.made if kinds[i] == CONSTANT}
        self._made_of = [x for i in made_of if (x := values[i]) is not None]
        self._hold(values)
        self.device = lives[-1].device

    def _hold(self, values: Sequence[Tensor | None]) -> None:
        self._constants = [x if i in self._read else None for i, x in enumerate(values)]
        self._held = [*self._made_of, *(x for x in self._constants if x is not None)]
        self._seen = list(map(_state, self._held))

    def is_stale(self) -> bool:
        """Whether somebody has written into a constant, or into what it was made of. A write through `.data`
        is not counted: see `renew`."""
        return list(map(_state, self._held)) != self._seen

    def renew(self) -> None:
        """Make the constants anew of what they were made of."""
        values = self._sources.copy()
        for op in self._folded:
            op.play(values)
        self._hold(values)

    def begin(self, steps: Sequence[Tensor]) -> list[Any]:
        """The values of a step, for any latent and feature."""
        values = self._constants.copy()
        for number, slot in self._steps:
            values[slot] = steps[number]
        for op in self._per_step:
            op.play(values)
        return values

    def of_step(self, values: list[Any]) -> list[Tensor]:
        """Those of a step's values that are no constants."""
        return [values[i] for i in self._of_step if values[i] is not None]

    def play(self, values: list[Any], lives: Sequence[Tensor]) -> list[Tensor]:
        """The outputs, from a step's values."""
        values = values.copy()
        for slot, tensor in zip(self._lives, lives, strict=True):
            values[slot] = tensor
        for op in self._live:
            op.play(values)
        return [values[slot] for slot in self._outputs]


def _state(tensor: Tensor) -> tuple[int, int]:
    """What a write or another `data` changes."""
    is_plain = type(tensor) in (Tensor, torch.nn.Parameter)
    return tensor._version, tensor.data_ptr() if is_plain else 0


def _filled(tree: Any, values: list[Any]) -> Any:
    if isinstance(tree, Slot):
        return values[tree.index]
    if type(tree) is dict:
        return {key: _filled(value, values) for key, value in tree.items()}
    if type(tree) in (tuple, list):
        return type(tree)(_filled(value, values) for value in tree)
    return tree
