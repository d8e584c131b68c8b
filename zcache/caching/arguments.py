"""Find the sample in a denoiser call's arguments, and put another one there.

Pipelines hand the latent to the denoiser as it is, cast, doubled for guidance, or with conditioning
latents joined to it. Which of these is found out once, by identity where the very tensor was passed
on, else by value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Path = tuple[Any, ...]
CONTAINERS = (dict, tuple, list)


@dataclass(frozen=True)
class Place:
    """Where the sample stands: a path of keys into the arguments, how often it is repeated along
    the batch, and, if it is only a part of the tensor there, the dimension it is joined along and
    where it starts."""

    path: Path
    repeats: int = 1
    dim: int | None = None
    start: int = 0


def copied(tree: Any) -> Any:
    """The containers copied, the tensors shared: models may edit a dictionary they are given."""
    if type(tree) is dict:
        return {key: copied(value) for key, value in tree.items()}
    if type(tree) in (tuple, list):
        return type(tree)(copied(value) for value in tree)
    return tree


def locate(arguments: Any, sample: Tensor) -> tuple[Place, ...]:
    """Every place of `sample` in the arguments; empty if it is nowhere to be found.

    Looks by identity first, and compares values (which waits for the device) only if that finds
    nothing."""
    tensors = list(_walk(arguments, ()))
    found = tuple(Place(path) for path, tensor in tensors if tensor is sample)
    if found:
        return found
    return tuple(
        place for path, tensor in tensors if (place := _compare(path, tensor, sample)) is not None
    )


def put(arguments: Any, places: tuple[Place, ...], sample: Tensor) -> Any:
    """A copy of the arguments with `sample` in every place, cast to the dtype found there."""
    for place in places:
        arguments = _set(arguments, place.path, place, sample)
    return arguments


def inserted(tensor: Tensor, place: Place, sample: Tensor) -> Tensor:
    """What stands at a place where `tensor` stood, with `sample` in it."""
    sample = sample.to(tensor.dtype)
    if place.repeats > 1:
        sample = torch.cat([sample] * place.repeats)
    if place.dim is None:
        return sample
    joined = tensor.clone()
    joined.narrow(place.dim, place.start, sample.shape[place.dim]).copy_(sample)
    return joined


def at(arguments: Any, path: Path) -> Any:
    """What stands at a path."""
    for key in path:
        arguments = arguments[key]
    return arguments


def is_controlled(arguments: tuple[tuple[Any, ...], dict[str, Any]]) -> bool:
    """Whether a call is given what a control net made of the latent, to add between the blocks."""
    return any("controlnet" in name and list(_walk(x, ())) for name, x in arguments[1].items())


def flattened(arguments: tuple[Any, ...]) -> list[Any]:
    """The leaves of a call's arguments in order, with the keys or the length of every container."""
    found: list[Any] = []
    _flatten(arguments, found)
    return found


def _flatten(container: Any, found: list[Any]) -> None:
    is_dict = isinstance(container, dict)
    found.append(tuple(container) if is_dict else len(container))
    for value in container.values() if is_dict else container:
        if isinstance(value, CONTAINERS):
            _flatten(value, found)
        else:
            found.append(value)


def _walk(tree: Any, path: Path) -> Iterator[tuple[Path, Tensor]]:
    if isinstance(tree, Tensor):
        yield path, tree
    elif isinstance(tree, dict):
        for key, value in tree.items():
            yield from _walk(value, (*path, key))
    elif isinstance(tree, tuple | list):
        for index, value in enumerate(tree):
            yield from _walk(value, (*path, index))


def _compare(path: Path, tensor: Tensor, sample: Tensor) -> Place | None:
    if not tensor.is_floating_point() or tensor.ndim != sample.ndim or tensor.ndim < 2:
        return None
    sample = sample.to(tensor.dtype)
    if tensor.shape == sample.shape:
        return Place(path) if torch.equal(tensor, sample) else None
    different = [d for d in range(tensor.ndim) if tensor.shape[d] != sample.shape[d]]
    repeats, rest = divmod(tensor.shape[0], sample.shape[0])
    if different[0] == 0 and not rest and repeats > 1:
        repeated = torch.cat([sample] * repeats)
        if different == [0]:
            return Place(path, repeats) if torch.equal(tensor, repeated) else None
        sample, different = repeated, different[1:]
    else:
        repeats = 1
    return _compare_part(path, tensor, sample, different, repeats)


def _compare_part(
    path: Path, tensor: Tensor, sample: Tensor, different: list[int], repeats: int
) -> Place | None:
    if len(different) != 1 or tensor.shape[different[0]] < sample.shape[different[0]]:
        return None
    (dim,) = different
    length = sample.shape[dim]
    for start in (0, tensor.shape[dim] - length):
        if torch.equal(tensor.narrow(dim, start, length), sample):
            return Place(path, repeats, dim, start)
    return None


def _set(tree: Any, path: Path, place: Place, sample: Tensor) -> Any:
    if not path:
        return inserted(tree, place, sample)
    key, *rest = path
    if isinstance(tree, dict):
        return {**tree, key: _set(tree[key], tuple(rest), place, sample)}
    values = list(tree)
    values[key] = _set(values[key], tuple(rest), place, sample)
    return type(tree)(values)
