"""Guidance that is not linear in the denoiser's outputs, where its form is known: then a reflected step
runs it again, exactly.

`Normalised`: each token of u + s (c - u) gets the length that c has there (Qwen-Image, Lumina 2,
JoyImage). `Rescaled`: the standard deviation of a sum is drawn to that of c by a share phi (Lin et al.
2024, "Common Diffusion Noise Schedules and Sample Steps are Flawed", Section 3.4). `Limited`: a sum
is no longer than some multiple of c (Z-Image). `Channelwise`: not all channels are guided (Lumina). All are
recognised by what they did, from observed steps; c and u are among the terms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import ClassVar

import torch
from torch import Tensor

from . import guidance
from .guidance import Combination, rounding
from .terms import Outputs, terms

AGREE = 1e-3  # how far two steps may find different numbers for one form
MOST_TERMS = 4  # two calls, the conditioning joined before the sample or behind it


class Form:
    """What every form does with its own `combine`."""

    is_linear = True
    misfit = 0.0
    count = 2  # of terms

    def apply(
        self, model_output: Tensor, old: Outputs, new: Outputs, latents: tuple[Tensor, Tensor]
    ) -> Tensor:
        """As `Combination.apply`, exactly."""
        return _moved(self.combine, model_output, old, new)

    def distances(
        self,
        outputs: Sequence[Outputs],
        model_outputs: Sequence[Tensor],
        latents: Sequence[Tensor] = (),
    ) -> Tensor:
        """As `Combination.distances`."""
        steps = zip(outputs, model_outputs, strict=True)
        return torch.stack([self._distance(old, v) for old, v in steps])

    def _distance(self, outputs: Outputs, model_output: Tensor) -> Tensor:
        found = _whole(outputs, model_output)
        if len(found) != self.count:
            return model_output.new_tensor(float("inf"), dtype=torch.float32)
        target = model_output.float()
        return (self.combine(found) - target).norm() / target.norm().clamp_min(1e-30)

    def combine(self, found: Sequence[Tensor]) -> Tensor:
        """The model_output of the terms."""
        raise NotImplementedError


@dataclass(frozen=True)
class Normalised(Form):
    """The guided prediction, at the length of the conditional one along the dimension `dim`; `sign` is -1
    where the pipeline hands on its negative."""

    conditional: int
    other: int
    scale: float
    sign: float = 1.0
    dim: int = -1
    count: int = 2
    misfit: float = 0.0

    def combine(self, found: Sequence[Tensor]) -> Tensor:
        c, u = found[self.conditional].float(), found[self.other].float()
        v = u + self.scale * (c - u)
        return v * (
            self.sign * c.norm(dim=self.dim, keepdim=True) / v.norm(dim=self.dim, keepdim=True)
        )


@dataclass(frozen=True)
class Sum(Form):
    """A form of a sum of the terms; `sign` is -1 where the pipeline hands on its negative."""

    conditional: int
    weights: tuple[float, ...]
    amount: float
    sign: float = 1.0
    misfit: float = 0.0
    most: ClassVar[float] = math.inf  # that the amount can be

    @property
    def count(self) -> int:  # type: ignore[override]
        return len(self.weights)

    def combine(self, found: Sequence[Tensor]) -> Tensor:
        v = _sum(found, self.weights)
        return self.sign * v * self.factor(found[self.conditional].float(), v)

    def factor(self, c: Tensor, v: Tensor) -> Tensor:
        """What the sum is multiplied by."""
        raise NotImplementedError


class Rescaled(Sum):
    """The guided prediction, its deviation drawn to that of the conditional one by a share `amount`."""

    most = 1 + AGREE

    def factor(self, c: Tensor, v: Tensor) -> Tensor:
        return 1 + self.amount * (_deviation(c) / _deviation(v) - 1)

    @staticmethod
    def amounts(c: Tensor, v: Tensor, k: float) -> float:
        """The share at a step where the sum was multiplied by k."""
        ratio = float((_deviation(c) / _deviation(v)).mean())
        return (k - 1) / (ratio - 1) if ratio != 1 else 0.0


class Limited(Sum):
    """The guided prediction, cut to at most `amount` times the length of the conditional one."""

    def factor(self, c: Tensor, v: Tensor) -> Tensor:
        return (self.amount * _length(c) / _length(v)).clamp(max=1.0)

    @staticmethod
    def amounts(c: Tensor, v: Tensor, k: float) -> float:
        """The multiple at a step where the sum was multiplied by k."""
        return float((k * _length(v) / _length(c)).mean())


@dataclass(frozen=True)
class Channelwise(Form):
    """A sum of the terms with factors of its own for every channel; `factors`: channels, terms."""

    factors: Tensor
    misfit: float = 0.0

    @property
    def count(self) -> int:  # type: ignore[override]
        return self.factors.shape[1]

    def combine(self, found: Sequence[Tensor]) -> Tensor:
        scaled = (
            x.float() * factor.view(-1, *[1] * (x.ndim - 2))
            for x, factor in zip(found, self.factors.T, strict=True)
        )
        return torch.stack(list(scaled)).sum(dim=0)


def normalised(outputs: Outputs, model_output: Tensor) -> Normalised | None:
    """The form that explains this step, or None. The channels of a token stand last, or first or second
    behind the batch."""
    for dim in (-1, *(dim for dim in (1, 2) if dim < model_output.ndim - 1)):
        if (form := _normalised(outputs, model_output, dim)) is not None:
            return form
    return None


def _normalised(outputs: Outputs, model_output: Tensor, dim: int) -> Normalised | None:
    """The scale is a least squares: model_output is parallel to u + s (c - u) at every token."""
    found = _whole(outputs, model_output)
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
    found = _whole(outputs, model_output)
    if not found or model_output.ndim < 4 or model_output[:, 0].numel() < 4 * len(found):
        return None

    def by_channel(x: Tensor) -> Tensor:
        return x.transpose(0, 1).flatten(1).double()

    matrix = torch.stack([by_channel(x) for x in found], dim=-1)
    if not bool(torch.isfinite(matrix).all()):
        return None
    factors = torch.linalg.pinv(matrix, rtol=1e-6) @ by_channel(model_output)[..., None]
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
    found = [_whole(o, v) for o, v in zip(outputs, model_outputs, strict=True)]
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
                kind.amounts(found[i][conditional].float(), _sum(found[i], weights), abs(totals[i]))
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
    """Whether the factors of these steps' sums depend on what is added up, as far as can be seen: they do
    not add up to the same number."""
    sums = [
        x for x in found if isinstance(x, Combination) and x.leaf is None and not x.takes_latent
    ]
    kinds = (
        [torch.tensor([sum(each.factors)]) for each in sums],
        [each.factors.sum(dim=1) for each in found if isinstance(each, Channelwise)],
    )
    spreads = (torch.stack(kind).aminmax(dim=0) for kind in kinds if kind)
    return any(float((high - low).max()) > max(AGREE, rounding(dtype)) for low, high in spreads)


def solve(outputs: Outputs, model_output: Tensor, latent: Tensor) -> Combination | Form | None:
    """`guidance.solve`; and where no sum explains the step, a form that does."""
    found = guidance.solve(outputs, model_output, latent)
    if found is None or found.misfit <= rounding(model_output.dtype):
        return found
    return normalised(outputs, model_output) or channelwise(outputs, model_output) or found


def _weights(combination: Combination) -> list[float]:
    total = sum(combination.factors)
    return [factor / total for factor in combination.factors]


def _sum(found: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    terms = [weight * x.float() for weight, x in zip(weights, found, strict=True)]
    return torch.stack(terms).sum(dim=0)


def _whole(outputs: Outputs, model_output: Tensor) -> list[Tensor]:
    return list(terms(outputs, model_output, halves=False))


def _alike(numbers: Sequence[float]) -> bool:
    return max(numbers) - min(numbers) <= AGREE * max(1.0, abs(max(numbers)))


def _deviation(x: Tensor) -> Tensor:
    return x.std(dim=list(range(1, x.ndim)), keepdim=True)


def _length(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=list(range(1, x.ndim)), keepdim=True)


def _moved(combine: object, model_output: Tensor, old: Outputs, new: Outputs) -> Tensor:
    """model_output and what the form makes of the change."""
    before, after = (combine(_whole(o, model_output)) for o in (old, new))  # type: ignore[operator]
    return (model_output.float() + (after - before)).to(model_output.dtype)
