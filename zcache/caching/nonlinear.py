"""Guidance that is not linear in the denoiser's outputs, where its form is known: then a reflected step
runs it again, exactly.

`Normalised`: each token of u + s (c - u) gets the length that c has there (Qwen-Image, Lumina 2,
JoyImage).
`Rescaled`: the standard deviation of u + s (c - u) is drawn to that of c by a share phi (Lin et al. 2024,
"Common Diffusion Noise Schedules and Sample Steps are Flawed", Section 3.4). Both are recognised by what
they did, from observed steps; c and u are two of the terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .guidance import Combination, rounding
from .terms import Outputs, terms

AGREE = 1e-3  # how far two steps may find different numbers for one form


class Form:
    """What every form does with its own `combine`."""

    is_linear = True

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
        return torch.stack([_distance(self.combine, old, v) for old, v in steps])

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
    misfit: float = 0.0

    def combine(self, found: Sequence[Tensor]) -> Tensor:
        c, u = found[self.conditional].float(), found[self.other].float()
        v = u + self.scale * (c - u)
        return v * (
            self.sign * c.norm(dim=self.dim, keepdim=True) / v.norm(dim=self.dim, keepdim=True)
        )


@dataclass(frozen=True)
class Rescaled(Form):
    """The guided prediction, its deviation drawn to that of the conditional one by a share `phi`."""

    conditional: int
    other: int
    scale: float
    phi: float
    misfit: float = 0.0

    def combine(self, found: Sequence[Tensor]) -> Tensor:
        c, u = found[self.conditional].float(), found[self.other].float()
        v = u + self.scale * (c - u)
        return v * (1 + self.phi * (_deviation(c) / _deviation(v) - 1))


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
    if len(found) != 2 or not bool(torch.isfinite(unit).all()):
        return None

    def across(x: Tensor) -> Tensor:
        return x - (x * unit).sum(dim=dim, keepdim=True) * unit

    for conditional, other in ((0, 1), (1, 0)):
        c, u = found[conditional].double(), found[other].double()
        direction = across(c - u)
        scale = float(-(across(u) * direction).sum() / direction.square().sum().clamp_min(1e-30))
        for sign in (1.0, -1.0):
            form = Normalised(conditional, other, scale, sign, dim)
            misfit = float(form.distances([outputs], [model_output]))
            if misfit <= rounding(model_output.dtype):
                return replace(form, misfit=misfit)
    return None


def rescaled(
    linear: Sequence[Combination], outputs: Sequence[Outputs], model_outputs: Sequence[Tensor]
) -> Rescaled | None:
    """The form that explains all these steps, each of which a sum explains too; or None.

    Of one step, rescaling is the sum k s c + k (1 - s) u with k = 1 + phi (std c / std v - 1): so s and
    phi follow from its two factors, and must be the same at every step."""
    for conditional, other in ((0, 1), (1, 0)):
        numbers = []
        for combination, old, model_output in zip(linear, outputs, model_outputs, strict=True):
            found = _whole(old, model_output)
            if len(found) != 2 or len(combination.factors) != 2:
                return None
            k = sum(combination.factors)
            if abs(k) < AGREE or abs(k - 1) < AGREE:
                return None
            scale = combination.factors[conditional] / k
            c, u = found[conditional].float(), found[other].float()
            ratio = float((_deviation(c) / _deviation(u + scale * (c - u))).mean())
            numbers.append((scale, (k - 1) / (ratio - 1) if ratio != 1 else 0.0))
        scales, shares = zip(*numbers, strict=True)
        if _alike(scales) and _alike(shares) and 0 < shares[-1] <= 1 + AGREE:
            form = Rescaled(conditional, other, scales[-1], shares[-1])
            misfits = form.distances(outputs, model_outputs).tolist()
            if max(misfits) <= rounding(model_outputs[0].dtype):
                return replace(form, misfit=max(misfits))
    return None


def _whole(outputs: Outputs, model_output: Tensor) -> list[Tensor]:
    return list(terms(outputs, model_output, halves=False))


def _alike(numbers: Sequence[float]) -> bool:
    return max(numbers) - min(numbers) <= AGREE * max(1.0, abs(max(numbers)))


def _deviation(x: Tensor) -> Tensor:
    return x.std(dim=list(range(1, x.ndim)), keepdim=True)


def _moved(combine: object, model_output: Tensor, old: Outputs, new: Outputs) -> Tensor:
    """model_output and what the form makes of the change."""
    before, after = (combine(_whole(o, model_output)) for o in (old, new))  # type: ignore[operator]
    return (model_output.float() + (after - before)).to(model_output.dtype)


def _distance(combine: object, outputs: Outputs, model_output: Tensor) -> Tensor:
    found = _whole(outputs, model_output)
    if len(found) != 2:
        return model_output.new_tensor(float("inf"), dtype=torch.float32)
    target = model_output.float()
    return (combine(found) - target).norm() / target.norm().clamp_min(1e-30)  # type: ignore[operator]
