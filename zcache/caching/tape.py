"""A cached pass as a line of torch calls, recorded as it ran and played without the modules.

Between the latent and the output of a cached pass there are a dozen torch calls, and around them ten times
as much Python. What depends on neither the latent nor the feature nor anything else that changed since the
call before (the prompt, tables, embeddings of the guidance) is a constant of the tape; what depends on the
step alone (the timestep's embedding) is played once a step, however often the step is taken again.

Whatever could make a recording say less than the modules do is a fault, and there is no tape: a tensor's
value that is read in Python or decides a size, a tensor that is written into, a tensor of unknown
origin, drawn noise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .features import version

# What a tensor depends on: nothing that changes, the step, the latent.
CONSTANT, STEP, LIVE = range(3)

_ATTRIBUTES = """shape dtype device ndim layout itemsize is_cuda is_cpu is_meta is_mps is_sparse is_quantized
    requires_grad is_leaf grad_fn"""
_METHODS = """size dim ndimension numel nelement stride element_size get_device __len__ is_floating_point
    is_complex is_contiguous is_inference"""
# What tells nothing of a tensor's values.
METADATA = {
    *(getattr(Tensor, name).__get__ for name in _ATTRIBUTES.split()),
    *(getattr(Tensor, name) for name in _METHODS.split()),
    *(torch.is_floating_point, torch.is_complex, torch.numel),
}


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


class Recorder(TorchFunctionMode):
    """Lists the torch calls made while it is entered, by what they depend on.

    Args:
        known: the inputs, by what they depend on.
        is_weight: whether another tensor, not made in here, is a weight; if it is not, it is a fault.
    """

    def __init__(
        self, known: Mapping[int, Sequence[Tensor]], is_weight: Callable[[Tensor], bool]
    ) -> None:
        super().__init__()
        self.fault = ""
        self._is_weight = is_weight
        self.ops: list[Op] = []
        self.values: list[Tensor] = []
        self.kinds: list[int] = []
        self._slots: dict[int, int] = {}
        for kind, tensors in known.items():
            for tensor in tensors:
                self.slot(tensor, kind)
        self.read: set[int] = set()
        self.made: set[int] = set()

    def slot(self, tensor: Tensor, kind: int) -> int:
        """The slot of a tensor, a new one of this kind if it has none."""
        if id(tensor) not in self._slots:
            if tensor.is_inference():
                self.fault = "writes into tensors of inference mode go unnoticed"
            self._slots[id(tensor)] = len(self.values)
            self.values.append(tensor)
            self.kinds.append(kind)
        return self._slots[id(tensor)]

    def slots(self, tensors: Iterable[Tensor]) -> tuple[int, ...]:
        """The slots of tensors that were given or made."""
        return tuple(self._slots[id(tensor)] for tensor in tensors)

    def are_live(self, outputs: Iterable[Tensor]) -> bool:
        """Whether all of these were made in here, of the latent or the feature."""
        slots = [self._slots.get(id(tensor)) for tensor in outputs]
        return all(slot is not None and self.kinds[slot] == LIVE for slot in slots)

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.fault:
            return function(*args, **kwargs)
        given = list(_found(Tensor, (args, kwargs)))
        for tensor in given:
            if id(tensor) not in self._slots:
                if not self._is_weight(tensor):
                    self.fault = f"{function} takes a tensor of unknown origin"
                self.slot(tensor, CONSTANT)
        before = [version(tensor) for tensor in given]
        result = function(*args, **kwargs)
        if before != [version(tensor) for tensor in given]:
            self.fault = f"{function} writes into a tensor"
        if not self.fault:
            self._note(function, args, kwargs, [self._slots[id(t)] for t in given], result)
        return result

    def _note(
        self, function: Any, args: tuple[Any, ...], kwargs: Any, reads: list[int], result: Any
    ) -> None:
        kinds = [self.kinds[index] for index in reads]
        kind = max(kinds, default=CONSTANT)
        made = list(_found(Tensor, result))
        self.read.update(reads)
        if not made:
            if kind != CONSTANT and function not in METADATA:
                self.fault = f"{function} reads a tensor's value"
            return
        if _is_sized_by_values(function, [self.values[index] for index in reads], kinds):
            self.fault = f"{function} reads a tensor's value for a size"
            return
        several = not isinstance(result, Tensor)
        if several and (type(result) not in (tuple, list) or len(made) != len(result)):
            self.fault = f"{function} returns more than tensors"
            return
        old = {self._slots.get(id(tensor)) for tensor in made}
        if old <= set(reads):  # such as `to` of what is there already
            return
        if old != {None}:
            self.fault = f"{function} returns a tensor that was there before"
            return
        writes = tuple(self.slot(tensor, kind) for tensor in made)
        self.made.update(writes)
        if kind == CONSTANT:
            return
        filled, named = self._slotted(list(args)), self._slotted(kwargs)
        if any(_found(Tensor, (filled, named))):
            self.fault = f"{function} takes a tensor within {[type(arg).__name__ for arg in args]}"
            return
        flat = tuple((i, a.index) for i, a in enumerate(filled) if isinstance(a, Slot))
        nested = len(flat) != len(list(_found(Slot, (filled, named))))
        self.ops.append(
            Op(kind, function, filled, named, frozenset(reads), writes, several, flat, nested)
        )

    def _slotted(self, tree: Any) -> Any:
        if isinstance(tree, Tensor):
            return Slot(self._slots[id(tree)])
        if type(tree) is dict:
            return {key: self._slotted(value) for key, value in tree.items()}
        if type(tree) in (tuple, list):
            return type(tree)(self._slotted(value) for value in tree)
        return tree


class Tape:
    """The calls of a recording that its outputs need.

    Args:
        steps: what is given once a step.
        lives: what is given at every play: latents and features.
        outputs: what the calls led to.
    """

    def __init__(
        self,
        recorder: Recorder,
        steps: Sequence[Tensor],
        lives: Sequence[Tensor],
        outputs: Sequence[Tensor],
    ) -> None:
        kinds, values = recorder.kinds, recorder.values
        self._lives, self._outputs = recorder.slots(lives), recorder.slots(outputs)
        needed, played = set(self._outputs), []
        for op in sorted(recorder.ops, key=lambda op: op.kind)[::-1]:  # a step's calls come first
            if needed & set(op.writes):
                op.last_reads = tuple(i for i in op.reads - needed if kinds[i] != CONSTANT)
                needed |= op.reads
                played.append(op)
        self._live = [op for op in reversed(played) if op.kind == LIVE]
        self._per_step = [op for op in reversed(played) if op.kind == STEP]
        self._steps = [(n, i) for n, i in enumerate(recorder.slots(steps)) if i in needed]
        constants = {i for i in needed if kinds[i] == CONSTANT}
        self._constants = [x if i in constants else None for i, x in enumerate(values)]
        made_of = {i for i in recorder.read - recorder.made if kinds[i] == CONSTANT}
        self._held = [values[i] for i in constants | made_of]
        self._seen = list(map(_state, self._held))
        self.device = lives[-1].device

    def is_stale(self) -> bool:
        """Whether somebody has written into a constant, or into what it was made of."""
        return list(map(_state, self._held)) != self._seen

    def begin(self, steps: Sequence[Tensor]) -> list[Any]:
        """The values of a step, for any latent and feature."""
        values = self._constants.copy()
        for number, slot in self._steps:
            values[slot] = steps[number]
        for op in self._per_step:
            op.play(values)
        return values

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


def _is_sized_by_values(function: Any, given: Sequence[Tensor], kinds: Sequence[int]) -> bool:
    """Whether the size of the result depends on values that change."""
    name = getattr(function, "__name__", "")
    if name == "__getitem__":  # a mask
        return any(
            x.dtype in (torch.bool, torch.uint8) and kind != CONSTANT
            for x, kind in zip(given[1:], kinds[1:], strict=True)
        )
    if name == "repeat_interleave":
        return any(kind != CONSTANT for kind in kinds[1:])
    by_values = "unique" in name or name in ("nonzero", "argwhere", "masked_select", "bincount")
    return max(kinds, default=CONSTANT) != CONSTANT and (
        by_values or (name == "where" and len(given) == 1)
    )


def _found(cls: type, tree: Any) -> Iterator[Any]:
    """Everything of a class within containers and slices."""
    if isinstance(tree, cls):
        yield tree
    elif isinstance(tree, dict):
        for value in tree.values():
            yield from _found(cls, value)
    elif isinstance(tree, tuple | list):
        for value in tree:
            yield from _found(cls, value)
    elif isinstance(tree, slice):
        yield from _found(cls, (tree.start, tree.stop, tree.step))


def _filled(tree: Any, values: list[Any]) -> Any:
    if isinstance(tree, Slot):
        return values[tree.index]
    if type(tree) is dict:
        return {key: _filled(value, values) for key, value in tree.items()}
    if type(tree) in (tuple, list):
        return type(tree)(_filled(value, values) for value in tree)
    return tree
