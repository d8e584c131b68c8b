"""Records the torch calls of a cached pass as it runs.

Whatever could make a recording say less than the modules do is a fault, and there is no tape: a tensor's
value that is read in Python or decides a size, a tensor that is written into, a tensor of unknown
origin, drawn noise."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .features import writes
from .tape import CONSTANT, LIVE, Op, Recording, Slot

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


class Recorder(Recording, TorchFunctionMode):
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
        self._deaths: list[Any] = []
        for kind, tensors in known.items():
            for tensor in tensors:
                self.slot(tensor, kind)

    def slot(self, tensor: Tensor, kind: int) -> int:
        """The slot of a tensor, a new one of this kind if it has none."""
        if id(tensor) not in self._slots:
            if tensor.is_inference():
                self.fault = "writes into tensors of inference mode go unnoticed"
            self._slots[id(tensor)] = len(self.values)
            self.values.append(tensor if kind == CONSTANT else None)
            self.kinds.append(kind)
            if kind != CONSTANT:
                forget = partial(self._forget, id(tensor))
                self._deaths.append(weakref.ref(tensor, forget))
        return self._slots[id(tensor)]

    def _forget(self, number: int, _: Any) -> None:
        self._slots.pop(number, None)

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
        before = [writes(tensor) for tensor in given]
        result = function(*args, **kwargs)
        if before != [writes(tensor) for tensor in given]:
            self.fault = f"{function} writes into a tensor"
        if not self.fault:
            self._note(function, args, kwargs, given, result)
        return result

    def _note(
        self, function: Any, args: tuple[Any, ...], kwargs: Any, given: list[Tensor], result: Any
    ) -> None:
        reads = [self._slots[id(tensor)] for tensor in given]
        kinds = [self.kinds[index] for index in reads]
        kind = max(kinds, default=CONSTANT)
        made = list(_found(Tensor, result))
        self.read.update(reads)
        if not made:
            if kind != CONSTANT and function not in METADATA:
                self.fault = f"{function} reads a tensor's value"
            return
        if _is_sized_by_values(function, given, kinds):
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
        filled, named = self._slotted(list(args)), self._slotted(kwargs)
        if any(_found(Tensor, (filled, named))):
            if kind == CONSTANT:
                return
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
