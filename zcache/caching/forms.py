"""Guidance that is not linear in the denoiser's outputs, as forms that a reflected step runs again, exactly.

`Normalised`: each token of u + s (c - u) gets the length that c has there (Qwen-Image, Lumina 2,
JoyImage). `Rescaled`: the standard deviation of a sum is drawn to that of c by a share phi (Lin et al.
2024, "Common Diffusion Noise Schedules and Sample Steps are Flawed", Section 3.4). `Limited`: a sum
is no longer than some multiple of c (Z-Image). `Channelwise`: not all channels are guided (Lumina)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from .terms import Outputs, terms

AGREE = 1e-3  # how far two steps may find different numbers for one form


class Form:
    """What every form does with its own `combine`."""

    is_linear = True
    misfit = 0.0
    count = 2  # of terms

    @property
    def strength(self) -> float:
        """The scale g of the guidance."""
        raise NotImplementedError

    def apply(
        self, model_output: Tensor, old: Outputs, new: Outputs, latents: tuple[Tensor, Tensor]
    ) -> Tensor:
        """As `Combination.apply`, exactly."""
        before, after = (self.combine(whole(o, model_output)) for o in (old, new))
        return (model_output.float() + (after - before)).to(model_output.dtype)

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
        found = whole(outputs, model_output)
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

    @property
    def strength(self) -> float:
        return max(1.0, self.scale)

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

    @property
    def strength(self) -> float:
        return max(1.0, *self.weights)

    def combine(self, found: Sequence[Tensor]) -> Tensor:
        v = added(found, self.weights)
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

    @cached_property
    def strength(self) -> float:
        return max(1.0, float(self.factors.max()))  # waits for the device, once

    def combine(self, found: Sequence[Tensor]) -> Tensor:
        scaled = (
            x.float() * factor.view(-1, *[1] * (x.ndim - 2))
            for x, factor in zip(found, self.factors.T, strict=True)
        )
        return torch.stack(list(scaled)).sum(dim=0)


def added(found: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    terms = [weight * x.float() for weight, x in zip(weights, found, strict=True)]
    return torch.stack(terms).sum(dim=0)


def whole(outputs: Outputs, model_output: Tensor) -> list[Tensor]:
    return list(terms(outputs, model_output, halves=False))


def _deviation(x: Tensor) -> Tensor:
    return x.std(dim=list(range(1, x.ndim)), keepdim=True)


def _length(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=list(range(1, x.ndim)), keepdim=True)
