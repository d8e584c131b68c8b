"""Recognises guidance that is not linear in the denoiser's outputs by what it did, from observed steps.

c, the conditional output, and u, another one, are among the terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import torch
from torch import Tensor

from . import guidance
from .forms import AGREE, Channelwise, Form, Limited, Normalised, Rescaled, Sum, added, whole
from .guidance import Combination, rounding
from .terms import Outputs

MOST_TERMS = 4  # two calls, the conditioning joined before the sample or behind it


def normalised(outputs: Outputs, model_output: Tensor) -> Normalised | None:
    """The form that explains this step, or None. The channels of a token stand last, or first or second
    behind the batch."""
    for dim in (-1, *(dim for dim in (1, 2) if dim < model_output.ndim - 1)):
        if (form := _normalised(outputs, model_output, dim)) is not None:
            return form
    return None


def _normalised(outputs: Outputs, model_output: Tensor, dim: int) -> Normalised | None:
    """The scale is a least squares: model_output is parallel to u + s (c - u) at every token."""
    found = whole(outputs, model_output)
    unit = model_output.double() / model_output.double().norm(dim=dim, keepdim=True)
    if not 2 <= len(found) <= MOST_TERMS or not bool(torch.isfinite(unit).all()):
        return None

    def across(x: Tensor) -> Tensor:
        return x - (x * unit).sum(dim=dim, keepdim=True) * unit

    for conditional, other in permutations(range(len(found)), 2):
        c, u = found[conditional].double(), found[other].double()
        direction = across(c - u)
        scale = float(-(across(u) * direction).sum() / direction.square().sum().clamp_min(1e-30))
        for sign in (1.0, -1.0):
            form = Normalised(conditional, other, scale, sign, dim, len(found))
            misfit = float(form.distances([outputs], [model_output]))
            if misfit <= rounding(model_output.dtype):
                return replace(form, misfit=misfit)
    return None


def channelwise(outputs: Outputs, model_output: Tensor) -> Channelwise | None:
    """The form that explains this step, or None; channels stand first behind the batch."""
    found = whole(outputs, model_output)
    if not found or model_output.ndim < 4 or model_output[:, 0].numel() < 4 * len(found):
        return None

    def by_channel(x: Tensor) -> Tensor:
        return x.transpose(0, 1).flatten(1).double()

    matrix = torch.stack([by_channel(x) for x in found], dim=-1)
    gram = matrix.mT @ matrix
    if not bool(torch.isfinite(gram).all()):
        return None
    inverse = torch.linalg.pinv(gram, rtol=1e-12, hermitian=True)
    factors = inverse @ (matrix.mT @ by_channel(model_output)[..., None])
    form = Channelwise(factors[..., 0].float())
    misfit = float(form.distances([outputs], [model_output]))
    return replace(form, misfit=misfit) if misfit <= rounding(model_output.dtype) else None


def rescaled(
    linear: Sequence[Combination], outputs: Sequence[Outputs], model_outputs: Sequence[Tensor]
) -> Sum | None:
    """The form that explains all these steps, each of which a sum explains too; or None.

    Of one step, it is the sum k w_1 c_1 + k w_2 c_2 + ..., the w adding up to 1: so k and w follow from its
    factors. The w must be the same at every step, and so must what k says of the form."""
    totals = [sum(combination.factors) for combination in linear]
    found = [whole(o, v) for o, v in zip(outputs, model_outputs, strict=True)]
    sizes = {len(terms) for terms in found} | {len(each.factors) for each in linear}
    if len(sizes) > 1 or any(abs(k) < AGREE for k in totals):
        return None
    weights = tuple(f / totals[-1] for f in linear[-1].factors)
    same = [_alike(column) for column in zip(*(_weights(each) for each in linear), strict=True)]
    moved = [index for index, k in enumerate(totals) if abs(abs(k) - 1) > AGREE]
    if not all(same) or not moved:
        return None
    sign = 1.0 if totals[-1] > 0 else -1.0
    for conditional in range(len(weights)):
        for kind in (Rescaled, Limited):
            amounts = [
                kind.amounts(
                    found[i][conditional].float(), added(found[i], weights), abs(totals[i])
                )
                for i in moved
            ]
            if not _alike(amounts) or not 0 < amounts[-1] <= kind.most:
                continue
            form = kind(conditional, weights, amounts[-1], sign)
            misfits = form.distances(outputs, model_outputs).tolist()
            if max(misfits) <= rounding(model_outputs[0].dtype):
                return replace(form, misfit=max(misfits))
    return None


def is_unsteady(found: Sequence[Combination | Form], dtype: torch.dtype) -> bool:
    """Whether these steps' sums look as if multiplied by something that they depend on: by another number
    at every step, and else the same. A schedule would change one factor against another."""
    limit = max(AGREE, rounding(dtype))
    together: dict[Any, list[Tensor]] = {}  # factors (channels or 1, terms) by shape
    for each in found:
        if isinstance(each, Channelwise):
            factors = each.factors
        elif isinstance(each, Combination) and each.leaf is None and not each.takes_latent:
            factors = torch.tensor([each.factors])
        else:
            continue
        together.setdefault(factors.shape, []).append(factors)
    for alike in map(torch.stack, together.values()):
        totals = alike.sum(dim=-1, keepdim=True)
        if _spread(totals) > limit >= _spread(alike / totals):
            return True
    return False


def _spread(steps: Tensor) -> float:
    """How far apart the numbers of several steps are, relative to what is above 1."""
    low, high = steps.aminmax(dim=0)
    return float(((high - low) / high.abs().clamp_min(1.0)).max())


def solve(outputs: Outputs, model_output: Tensor, latent: Tensor) -> Combination | Form | None:
    """`guidance.solve`; and where no sum explains the step, a form that does."""
    found = guidance.solve(outputs, model_output, latent)
    if found is None or found.misfit <= rounding(model_output.dtype):
        return found
    return normalised(outputs, model_output) or channelwise(outputs, model_output) or found


def _weights(combination: Combination) -> list[float]:
    total = sum(combination.factors)
    return [factor / total for factor in combination.factors]


def _alike(numbers: Sequence[float]) -> bool:
    return max(numbers) - min(numbers) <= AGREE * max(1.0, abs(max(numbers)))
