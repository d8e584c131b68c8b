"""How a pipeline made the scheduler's `model_output` from the outputs of its denoiser calls.

Guidance happens between the denoiser and the scheduler, inside the pipeline. Nearly all of it is
linear in the calls' outputs (or halves of a batch), so its factors can be found by least squares
from one observed step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Outputs = Sequence[Sequence[Tensor]]  # leaves of every call of one step

SAMPLES = 4096
LIMIT = 0.05  # relative misfit above which guidance is called non-linear


@dataclass(frozen=True)
class Combination:
    """model_output = one leaf handed on as it is, or a sum of terms with factors.

    `misfit` is the relative distance of that sum to the observed model_output.
    """

    leaf: tuple[int, int] | None = None
    factors: tuple[float, ...] = ()
    misfit: float = 0.0

    @property
    def is_linear(self) -> bool:
        return self.misfit <= LIMIT

    def apply(self, model_output: Tensor, old: Outputs, new: Outputs) -> Tensor:
        """The model_output that `new` outputs lead to, where `old` ones led to `model_output`.

        Exact for linear guidance, first order otherwise.
        """
        if self.leaf is not None:
            call, leaf = self.leaf
            return new[call][leaf]
        total = model_output.to(torch.float32)
        for factor, was, is_now in zip(
            self.factors, _terms(old, model_output), _terms(new, model_output), strict=True
        ):
            if factor != 0.0:
                total = total + (is_now - was).to(torch.float32) * factor
        return total.to(model_output.dtype)


def rounding(dtype: torch.dtype) -> float:
    """The misfit that rounding alone leaves."""
    return 1e-4 if dtype in (torch.float32, torch.float64) else 2e-2


def explain(
    known: Sequence[Combination | None], outputs: Sequence[Outputs], model_outputs: Sequence[Tensor]
) -> list[bool]:
    """Whether each known combination gives its model_output as well as where it was found. Waits for
    the device once, and only where outputs were added up."""
    fits = [False] * len(known)
    tried: dict[int, Tensor] = {}
    limits: dict[int, float] = {}
    for index, (combination, old, model_output) in enumerate(
        zip(known, outputs, model_outputs, strict=True)
    ):
        if combination is not None and combination.leaf is not None:
            call, leaf = combination.leaf
            fits[index] = old[call][leaf] is model_output
        elif combination is not None:
            tried[index] = _misfit(combination.factors, old, model_output)
            limits[index] = 2 * combination.misfit + rounding(model_output.dtype)
    if tried:
        for index, misfit in zip(tried, torch.stack(list(tried.values())).tolist(), strict=True):
            fits[index] = misfit <= limits[index]
    return fits


def _misfit(factors: Sequence[float], outputs: Outputs, model_output: Tensor) -> Tensor:
    """The relative distance of the sum to model_output, as a tensor that nobody has waited for."""
    terms = list(_terms(outputs, model_output))
    if len(terms) != len(factors):
        return model_output.new_tensor(float("inf"), dtype=torch.float32)
    picked = _picked(model_output)
    target = model_output.flatten()[picked].float()
    total = sum(
        term.flatten()[picked].float() * factor for term, factor in zip(terms, factors, strict=True)
    )
    return (total - target).norm() / target.norm().clamp_min(1e-30)


def _picked(like: Tensor) -> Tensor:
    """At most SAMPLES places, spread evenly."""
    count = like.numel()
    return torch.linspace(0, count - 1, min(count, SAMPLES), device=like.device).long()


def solve(outputs: Outputs, model_output: Tensor) -> Combination | None:
    """Find the combination; None if no output has a shape that could enter it.

    Identity first; otherwise least squares in float64 on at most 4096 elements, which waits for the
    device."""
    for call, leaves in enumerate(outputs):
        for index, leaf in enumerate(leaves):
            if leaf is model_output:
                return Combination(leaf=(call, index))
    terms = list(_terms(outputs, model_output))
    if not terms:
        return None
    picked = _picked(model_output)
    matrix = torch.stack([term.flatten()[picked].double().cpu() for term in terms], dim=1)
    target = model_output.flatten()[picked].double().cpu()
    if not (torch.isfinite(matrix).all() and torch.isfinite(target).all()):
        return Combination(misfit=math.inf)
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    kept = s > 1e-6 * s[0]
    factors = vh[kept].T @ ((u[:, kept].T @ target) / s[kept])
    misfit = float((matrix @ factors - target).norm() / target.norm().clamp_min(1e-30))
    rounded = tuple(0.0 if abs(f) < 1e-12 else f for f in factors.tolist())
    return Combination(factors=rounded, misfit=misfit)


def _terms(outputs: Outputs, like: Tensor) -> Iterator[Tensor]:
    """What guidance may add up, in the shape of `like`: outputs, chunks, halves repeated."""
    for leaves in outputs:
        for leaf in leaves:
            yield from _terms_of(leaf, like)


def _terms_of(leaf: Tensor, like: Tensor) -> Iterator[Tensor]:
    if leaf.ndim == like.ndim - 1:
        leaf = leaf[None]
    if leaf.ndim != like.ndim:
        return
    for dim in range(1, like.ndim):
        surplus = leaf.shape[dim] - like.shape[dim]
        if surplus > 0:  # conditioning joined before the sample or behind it
            for start in (0, surplus):
                yield from _terms_of(leaf.narrow(dim, start, like.shape[dim]), like)
            return
    batch, wanted = leaf.shape[0], like.shape[0]
    if leaf.shape[1:] != like.shape[1:] or batch % wanted:
        return
    if batch != wanted:
        yield from leaf.chunk(batch // wanted)
        return
    yield leaf
    if wanted % 2 == 0:
        yield from (torch.cat([half, half]) for half in leaf.chunk(2))
