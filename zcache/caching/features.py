"""Trees of tensors: features added up with scalar factors, and denoiser outputs taken apart and put
together again (tensors, tuples, lists, or diffusers' dict-like output classes)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
Feature = Any  # Tensor, or a nested tuple of tensors


def combine(features: Sequence[Feature], factors: Sequence[float]) -> Feature:
    """Return sum_i factors[i] * features[i], leaf by leaf.

    A factor of 0 costs nothing, and a lone factor of 1 returns the feature itself, not a copy: so W
    = 1 at an anchor gives exactly the features computed there. Half precision is added up in
    float32."""
    terms = [(x, c) for x, c in zip(features, factors, strict=True) if c != 0.0]
    if len(terms) == 1 and terms[0][1] == 1.0:
        return terms[0][0]
    if isinstance(features[-1], torch.Tensor):
        return _combine_tensors(terms) if terms else torch.zeros_like(features[-1])
    if features[-1] is None:
        return None
    used, factors = zip(*(terms or [(features[-1], 0.0)]), strict=True)
    return tuple(combine(leaf, factors) for leaf in zip(*used, strict=True))


def _combine_tensors(terms: list[tuple[torch.Tensor, float]]) -> torch.Tensor:
    first, factor = terms[0]
    wide = torch.float32 if first.dtype in (torch.float16, torch.bfloat16) else first.dtype
    total = first.to(wide) * factor
    for tensor, factor in terms[1:]:
        total.add_(tensor, alpha=factor)
    return clipped(total, first.dtype).to(first.dtype)


def clipped(tensor: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """The tensor within what float16 can hold, if that is its precision or will be: what is forecast along a
    slope may go beyond, where models clip, and infinity becomes NaN in the next norm."""
    if (dtype or tensor.dtype) is not torch.float16:
        return tensor
    most = torch.finfo(torch.float16).max
    return tensor.clamp(-most, most)


def tensors(feature: Feature) -> Iterator[torch.Tensor]:
    """Return all tensors of a feature, depth first."""
    return within(feature, torch.Tensor)


def within(tree: Any, kind: type[T]) -> Iterator[T]:
    """Return all of a kind in tuples, lists and dicts, depth first."""
    if isinstance(tree, kind):
        yield tree
    elif isinstance(tree, tuple | list | dict):
        for leaf in tree.values() if isinstance(tree, dict) else tree:
            yield from within(leaf, kind)


def leaves(output: Any) -> Iterator[Tensor]:
    """Return the tensors of an output, in order."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from leaves(value)
    elif isinstance(output, tuple | list):
        for value in output:
            yield from leaves(value)


def rebuild(like: Any, tensors: tuple[Tensor, ...]) -> Any:
    """Return an output of the same type and nesting as `like`, with other tensors."""
    return _rebuild(like, iter(tensors))


def _rebuild(like: Any, tensors: Iterator[Tensor]) -> Any:
    if isinstance(like, Tensor):
        return next(tensors)
    if isinstance(like, Mapping):
        return type(like)(**{key: _rebuild(value, tensors) for key, value in like.items()})
    if isinstance(like, tuple | list):
        return sequence(like, [_rebuild(value, tensors) for value in like])
    return like


def sequence(like: Any, values: list[Any]) -> Any:
    """Return a list, tuple or named tuple of the type of `like` with other values."""
    return type(like)(*values) if hasattr(like, "_fields") else type(like)(values)


def version(tensor: Tensor) -> int | None:
    """Count the writes into a tensor; None where that is not known (inference mode)."""
    return None if tensor.is_inference() else tensor._version


class Contents:
    """What stands in a tensor, as one number on its device; to compare two waits for the device."""

    def __init__(self, tensor: Tensor) -> None:
        flat = tensor.detach().contiguous().flatten()
        flat = torch.view_as_real(flat).flatten() if flat.is_complex() else flat
        bits = flat.view(_WHOLE[flat.element_size()]).long()
        places = torch.arange(1, bits.numel() + 1, device=bits.device).remainder_(_PRIME)
        self._sum = (bits * places).sum()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Contents) and bool((self._sum == other._sum).item())

    __hash__ = None  # type: ignore[assignment]


_WHOLE = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_PRIME = (
    8191  # so that a change of the same bit at two places does not cancel, as in a sum it would
)


def writes(tensor: Tensor) -> int | Contents:
    """Return what a write into a tensor changes: their number; in inference mode, where nobody counts them,
    its contents."""
    counted = version(tensor)
    return Contents(tensor) if counted is None else counted
