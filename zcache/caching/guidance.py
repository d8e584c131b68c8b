"""How a pipeline made the scheduler's `model_output` from the outputs of its denoiser calls.

Guidance happens between the denoiser and the scheduler, inside the pipeline. Nearly all of it is
linear in the calls' outputs (or halves of a batch), and sometimes in the latent, so its factors can be
found by least squares from one observed step. `nonlinear` knows the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .terms import Outputs, parts, terms

SAMPLES = 4096
THOUSAND = 1000.0
LARGE = 100.0  # no scale of guidance is: from here on it is one times a thousand
LIMIT = 0.05  # relative misfit above which guidance is called non-linear


@dataclass(frozen=True)
class Combination:
    """model_output = one leaf handed on as it is, or a sum of terms with factors.

    `misfit` is the relative distance of that sum to the observed model_output. `takes_latent`: the
    latent is the last of the terms (a pipeline that turns a denoised prediction into a velocity).
    """

    leaf: tuple[int, int] | None = None
    factors: tuple[float, ...] = ()
    misfit: float = 0.0
    takes_latent: bool = False

    @property
    def is_linear(self) -> bool:
        return self.misfit <= LIMIT

    def apply(
        self, model_output: Tensor, old: Outputs, new: Outputs, latents: tuple[Tensor, Tensor]
    ) -> Tensor:
        """The model_output that `new` outputs lead to, where `old` ones led to `model_output`.

        Exact for linear guidance, first order otherwise.

        Args:
            latents: the old and the new one.
        """
        if self.leaf is not None:
            call, leaf = self.leaf
            return new[call][leaf]
        if self.takes_latent:
            old, new = [*old, [latents[0]]], [*new, [latents[1]]]
        change = [
            [is_now - was for was, is_now in zip(*leaves, strict=True)]
            for leaves in zip(old, new, strict=True)
        ]
        total = model_output.to(torch.float32)
        for factor, part in zip(self.factors, parts(change, model_output), strict=True):
            if factor != 0.0:
                total = total.add(part(), alpha=factor)
        return total.to(model_output.dtype)

    def distances(
        self,
        outputs: Sequence[Outputs],
        model_outputs: Sequence[Tensor],
        latents: Sequence[Tensor],
    ) -> Tensor:
        """The relative distance of the sum to model_output, of several steps of the same shapes at once
        (they stand along a further, last dimension); a tensor that nobody has waited for."""
        if self.takes_latent:
            outputs = [[*old, [latent]] for old, latent in zip(outputs, latents, strict=True)]
        target = torch.stack(list(model_outputs), dim=-1).float()
        together = [
            [torch.stack(leaf, dim=-1) for leaf in zip(*call, strict=True)]
            for call in zip(*outputs, strict=True)
        ]
        found = list(parts(together, target))
        if len(found) != len(self.factors):
            return target.new_full((len(model_outputs),), math.inf)
        rest = target
        for part, factor in zip(found, self.factors, strict=True):
            if factor != 0.0:
                rest = rest.sub(part(), alpha=factor)
        size = target.flatten(0, -2).norm(dim=0)
        return rest.flatten(0, -2).norm(dim=0) / size.clamp_min(1e-30)


def rounding(dtype: torch.dtype) -> float:
    """The misfit that rounding alone leaves."""
    return 1e-4 if dtype in (torch.float32, torch.float64) else 2e-2


def coarsest(outputs: Outputs, model_output: Tensor) -> torch.dtype:
    """The precision of the outputs or of what was made of them, whichever rounds more."""
    found = [model_output.dtype, *(leaf.dtype for leaves in outputs for leaf in leaves)]
    return max(found, key=rounding)


def scale(guidance: Any) -> float:
    """The scale g of guidance that adds up outputs as g a + (1 - g) b, also where the sum is normalised, rescaled
    or one of the latent, too; 1 of anything else."""
    if guidance is None or not guidance.is_linear:
        return 1.0
    if not isinstance(guidance, Combination):
        return float(guidance.strength)
    if not guidance.takes_latent:
        return known_scale(guidance) or 1.0
    own = guidance.factors[:-1]
    return max(1.0, *(factor / total for factor in own)) if (total := sum(own)) else 1.0


def known_scale(guidance: Any) -> float | None:
    """`scale` of guidance that is a plain sum of outputs; None of any other, and where nothing is known."""
    if not isinstance(guidance, Combination) or not guidance.is_linear or guidance.takes_latent:
        return None
    return max((1.0, *guidance.factors))


def told(kwargs: Mapping[str, Any]) -> float:
    """The scale that a denoiser is told as `guidance`, some pipelines say it times a thousand; 1 of any other."""
    given = kwargs.get("guidance")
    if not isinstance(given, Tensor) or given.numel() == 0:
        return 1.0
    scale = float(given.max())
    return scale / THOUSAND if scale >= LARGE else scale


def explain(
    known: Sequence[Any],
    outputs: Sequence[Outputs],
    model_outputs: Sequence[Tensor],
    latents: Sequence[Tensor],
) -> list[bool]:
    """Whether each known combination gives its model_output as well as where it was found. Waits for
    the device once, and only where outputs were added up."""
    fits = [False] * len(known)
    together: dict[Any, list[int]] = {}  # steps by combination and shapes
    for index, (combination, old, model_output) in enumerate(
        zip(known, outputs, model_outputs, strict=True)
    ):
        if combination is None:
            continue
        if isinstance(combination, Combination) and combination.leaf is not None:
            call, leaf = combination.leaf
            fits[index] = old[call][leaf] is model_output
        else:
            shapes = (model_output.shape, *(leaf.shape for call in old for leaf in call))
            together.setdefault((id(combination), shapes), []).append(index)
    tried = [index for steps in together.values() for index in steps]
    misfits = [
        known[steps[0]].distances(
            *([each[i] for i in steps] for each in (outputs, model_outputs, latents))
        )
        for steps in together.values()
    ]
    for index, misfit in zip(tried, torch.cat(misfits).tolist() if misfits else (), strict=True):
        limit = 2 * known[index].misfit + rounding(model_outputs[index].dtype)
        fits[index] = misfit <= limit
    return fits


def _picked(tensor: Tensor) -> Tensor:
    """About SAMPLES elements at even distances that meet every channel and token alike."""
    count = tensor.numel()
    stride = -(-count // SAMPLES)
    while math.gcd(stride, count) > 1:
        stride += 1
    return tensor.flatten()[::stride]


def solve(outputs: Outputs, model_output: Tensor, latent: Tensor) -> Combination | None:
    """Find the combination; None if no output has a shape that could enter it.

    Identity first; otherwise least squares in float64 on about 4096 elements, which waits for the
    device."""
    for call, leaves in enumerate(outputs):
        for index, leaf in enumerate(leaves):
            if leaf is model_output:
                return Combination(leaf=(call, index))
    found = list(terms(outputs, model_output))
    if not found:
        return None
    combination = _least_squares(found, model_output)
    if rounding(model_output.dtype) < combination.misfit < math.inf:
        with_latent = _least_squares([*found, *terms([[latent]], model_output)], model_output)
        if with_latent.misfit <= rounding(coarsest(outputs, model_output)):
            return replace(with_latent, takes_latent=True)
    return combination


def _least_squares(terms: Sequence[Tensor], model_output: Tensor) -> Combination:
    """The factors of the sum of terms that comes nearest to model_output."""
    matrix = torch.stack([_picked(term).double().cpu() for term in terms], dim=1)
    target = _picked(model_output).double().cpu()
    if not (torch.isfinite(matrix).all() and torch.isfinite(target).all()):
        return Combination(misfit=math.inf)
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    kept = s > 1e-6 * s[0]
    factors = vh[kept].T @ ((u[:, kept].T @ target) / s[kept])
    misfit = float((matrix @ factors - target).norm() / target.norm().clamp_min(1e-30))
    rounded = tuple(0.0 if abs(f) < 1e-12 else f for f in factors.tolist())
    return Combination(factors=rounded, misfit=misfit)
