"""Find the sample in a denoiser call's arguments, and put another one there.

Pipelines hand the latent to the denoiser as it is, cast, doubled for guidance, with conditioning
latents joined to it, with a dimension of length 1 more or less, or scaled by the noise level. Which of
these is found out once, by identity where the very tensor was passed on, else by value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .features import sequence

Path = tuple[Any, ...]
EMPTY: Mapping[Any, Any] = {}
CONTAINERS = (dict, tuple, list)
NEAR = {torch.float32: 1e-5, torch.float64: 1e-5, torch.float16: 2e-3}  # a scaled latent
COARSE = 1.5e-2


@dataclass(frozen=True)
class Place:
    """Where the sample stands: a path of keys into the arguments, how often it is repeated along
    the batch, and, if it is only a part of the tensor there, the dimension it is joined along and
    where it starts. `scaled`: whether there is a factor on it, another one at every step."""

    path: Path
    repeats: int = 1
    dim: int | None = None
    start: int = 0
    scaled: bool = False


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
    for compare in (_compare, _compare_scaled):
        places = (compare(path, tensor, sample) for path, tensor in tensors)
        if found := tuple(place for place in places if place is not None):
            break
    return found


def factors(arguments: Any, places: tuple[Place, ...], sample: Tensor) -> dict[Place, Tensor]:
    """The factors on `sample` in a call's arguments, at the places where there is one."""
    return {p: _factor(at(arguments, p.path), sample) for p in places if p.scaled}


def put(
    arguments: Any, places: tuple[Place, ...], sample: Tensor, scales: Mapping[Any, Any] = EMPTY
) -> Any:
    """A copy of the arguments with `sample` in every place, cast to the dtype found there. `scales`: its
    factors, by place."""
    for place in places:
        scaled = sample * scales[place] if place.scaled else sample
        arguments = _set(arguments, place.path, place, scaled)
    return arguments


def inserted(tensor: Tensor, place: Place, sample: Tensor) -> Tensor:
    """What stands at a place where `tensor` stood, with `sample` in it, scaled as it is to be."""
    sample = sample.to(tensor.dtype)
    if place.repeats > 1:
        sample = torch.cat([sample] * place.repeats)
    if place.dim is None:
        return sample.reshape(tensor.shape)
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


def signature(flat: list[Any]) -> tuple[Any, ...]:
    """What a call must share with its anchors, of the leaves of its arguments: the shapes of tensors, and words
    and switches (a mode that fills a cache of keys reads other tokens than one that uses it)."""
    kept = (leaf for leaf in flat if isinstance(leaf, Tensor | str | bool))
    return tuple(leaf.shape if isinstance(leaf, Tensor) else leaf for leaf in kept)


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
    if tensor.shape != sample.shape and _lengths(tensor) == _lengths(sample):
        sample = sample.reshape(tensor.shape)
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


def _compare_scaled(path: Path, tensor: Tensor, sample: Tensor) -> Place | None:
    if not tensor.is_floating_point() or tensor.ndim != sample.ndim or tensor.ndim < 2:
        return None
    repeats = tensor.shape[0] // sample.shape[0]
    if tensor.shape != (repeats * sample.shape[0], *sample.shape[1:]):
        return None
    factor, found = _factor(tensor, sample), tensor.float()
    off = (found - torch.cat([sample.float() * factor] * repeats)).norm()
    near = NEAR.get(tensor.dtype, COARSE)
    is_scaled = bool((factor > 0) & (off <= near * found.norm()))
    return Place(path, repeats, scaled=True) if is_scaled else None


def _factor(tensor: Tensor, sample: Tensor) -> Tensor:
    """The factor on the sample that a tensor, or its first part, comes nearest to."""
    found, sample = tensor[: sample.shape[0]].float(), sample.float()
    return (found * sample).sum() / (sample * sample).sum()


def _lengths(tensor: Tensor) -> list[int]:
    """The shape without the dimensions that a pipeline adds or drops on the way to the scheduler."""
    return [length for length in tensor.shape if length != 1]


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
    return sequence(tree, values)
