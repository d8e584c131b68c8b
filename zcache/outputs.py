"""Denoiser outputs: tensors, tuples, lists, or diffusers' dict-like output classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor


def leaves(output: Any) -> Iterator[Tensor]:
    """The tensors of an output, in order."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from leaves(value)
    elif isinstance(output, tuple | list):
        for value in output:
            yield from leaves(value)


def rebuild(like: Any, tensors: tuple[Tensor, ...]) -> Any:
    """An output of the same type and nesting as `like`, with other tensors."""
    return _rebuild(like, iter(tensors))


def _rebuild(like: Any, tensors: Iterator[Tensor]) -> Any:
    if isinstance(like, Tensor):
        return next(tensors)
    if isinstance(like, Mapping):
        return type(like)(**{key: _rebuild(value, tensors) for key, value in like.items()})
    if isinstance(like, tuple | list):
        return type(like)(_rebuild(value, tensors) for value in like)
    return like
