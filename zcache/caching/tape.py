"""A cached pass as a line of torch calls, recorded as it ran and played without the modules.

Between the latent and the output of a cached pass there are a dozen torch calls, and around them ten times
as much Python. What depends on neither the latent nor the feature nor anything else that changed since the
call before (the prompt, tables, embeddings of the guidance) is a constant of the tape; what depends on the
step alone (the timestep's embedding) is played once a step, however often the step is taken again.

Whatever could make a recording say less than the modules do is a fault, and there is no tape: a tensor's
value that is read in Python, a tensor that is written into, a tensor of unknown origin, drawn noise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .features import version

CONSTANT, STEP, LIVE = range(
    3
)  # what a tensor depends on: nothing that changes, the step, the latent

# What tells nothing of a tensor's values.
_ATTRIBUTES = (
    *(
        "shape",
        "dtype",
        "device",
        "ndim",
        "layout",
        "itemsize",
        "is_cuda",
        "is_cpu",
        "is_meta",
        "is_mps",
    ),
    *("is_sparse", "is_quantized", "requires_grad", "is_leaf", "grad_fn"),
)
_METHODS = (
    *(
        "size",
        "dim",
        "ndimension",
        "numel",
        "nelement",
        "stride",
        "element_size",
        "get_device",
        "__len__",
    ),
    *("is_floating_point", "is_complex", "is_contiguous", "is_inference"),
)
METADATA = {
    *(getattr(Tensor, name).__get__ for name in _ATTRIBUTES),
    *(getattr(Tensor, name) for name in _METHODS),
    *(torch.is_floating_point, torch.is_complex, torch.numel),
}


@dataclass(frozen=True)
class Slot:
    """Stands for a tensor in the arguments of a recorded call."""

    index: int


@dataclass
class Op:
    """One torch call. `flat`: places of slots among the arguments; `nested`: whether there are others."""

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
        known: tensors with what they depend on: inputs, weights.
        is_weight: whether another tensor, not made in here, is a weight; if it is not, it is a fault.
    """

    def __init__(
        self, known: Iterable[tuple[Tensor, int]], is_weight: Callable[[Tensor], bool]
    ) -> None:
        super().__init__()
        self.fault = ""
        self._is_weight = is_weight
        self.ops: list[Op] = []
        self.values: list[Tensor] = []
        self.kinds: list[int] = []
        self._slots: dict[int, int] = {}
        for tensor, kind in known:
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
        given = list(_tensors((args, kwargs)))
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
        kind = max((self.kinds[index] for index in reads), default=CONSTANT)
        made = list(_tensors(result))
        self.read.update(reads)
        if not made:
            if kind != CONSTANT and function not in METADATA:
                self.fault = f"{function} reads a tensor's value"
            return
        several = not isinstance(result, Tensor)
        if several and (type(result) not in (tuple, list) or len(made) != len(result)):
            self.fault = f"{function} returns more than tensors"
            return
        writes = tuple(self.slot(tensor, kind) for tensor in made)
        self.made.update(set(writes) - set(reads))
        if kind == CONSTANT or set(writes) <= set(reads):  # such as `to` of what is there already
            return
        filled, named = self._slotted(list(args)), self._slotted(kwargs)
        if any(True for _ in _tensors((filled, named))):
            self.fault = f"{function} takes a tensor within {[type(arg).__name__ for arg in args]}"
            return
        flat = tuple((i, a.index) for i, a in enumerate(filled) if isinstance(a, Slot))
        nested = len(flat) != len(list(_slots((filled, named))))
        self.ops.append(
            Op(function, filled, named, frozenset(reads), writes, several, flat, nested)
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
        steps: the slots of what is given once a step.
        lives: the slots of what is given at every play: latents and features.
        outputs: the slots of the outputs.
    """

    def __init__(
        self,
        recorder: Recorder,
        steps: Sequence[int],
        lives: Sequence[int],
        outputs: Sequence[int],
    ) -> None:
        kinds, needed = recorder.kinds, set(outputs)
        per_step = [op for op in recorder.ops if kinds[op.writes[0]] == STEP]
        live = [op for op in recorder.ops if kinds[op.writes[0]] == LIVE]
        played = []
        for op in reversed([*per_step, *live]):
            if needed & set(op.writes):
                op.last_reads = tuple(i for i in op.reads - needed if kinds[i] != CONSTANT)
                needed |= op.reads
                played.append(op)
        self._live = [op for op in reversed(played) if kinds[op.writes[0]] == LIVE]
        self._per_step = [op for op in reversed(played) if kinds[op.writes[0]] == STEP]
        self._steps = [(n, slot) for n, slot in enumerate(steps) if slot in needed]
        self._lives, self._outputs = tuple(lives), tuple(outputs)
        self._constants = [
            value if slot in needed and kinds[slot] == CONSTANT else None
            for slot, value in enumerate(recorder.values)
        ]
        held = {
            i for i in recorder.read - recorder.made if kinds[i] == CONSTANT
        }  # what went into them
        held |= {i for i in needed if kinds[i] == CONSTANT}
        self._versions = [(recorder.values[i], recorder.values[i]._version) for i in held]

    def is_stale(self) -> bool:
        """Whether somebody has written into a constant, or into what it was made of."""
        return any(tensor._version != version for tensor, version in self._versions)

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


def _tensors(tree: Any) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, dict):
        for value in tree.values():
            yield from _tensors(value)
    elif isinstance(tree, tuple | list):
        for value in tree:
            yield from _tensors(value)
    elif isinstance(tree, slice):
        yield from _tensors((tree.start, tree.stop, tree.step))


def _slots(tree: Any) -> Iterator[Slot]:
    if isinstance(tree, Slot):
        yield tree
    elif isinstance(tree, dict):
        for value in tree.values():
            yield from _slots(value)
    elif isinstance(tree, tuple | list):
        for value in tree:
            yield from _slots(value)


def _filled(tree: Any, values: list[Any]) -> Any:
    if isinstance(tree, Slot):
        return values[tree.index]
    if type(tree) is dict:
        return {key: _filled(value, values) for key, value in tree.items()}
    if type(tree) in (tuple, list):
        return type(tree)(_filled(value, values) for value in tree)
    return tree
