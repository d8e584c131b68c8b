"""Weights w = W(k) of the reflection: how far a cached step trusts the newer anchor (Sec. 3.3, Fig.
9).

The paper counts timesteps k down from the older anchor t_2 to the newer anchor t_1. This package
counts steps up from `start` (= t_2) to `stop` (= t_1), so a weight that falls in k rises along the
sampling: 0 at `start` (trust the past), 1 at `stop` (trust the newer anchor). Every function here
takes the fraction's two numbers `j = step - start` and `n = stop - start`, with 1 <= j <= n."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from .registry import Registry

WeightFunction = Callable[[int, int], float]
AUTOMATIC = "automatic"  # the base decides: see `ZCacheConfig.weight_function`
FITTED = "fitted"  # `ZCacheConfig.factors` are the weights

_weights: Registry[WeightFunction] = Registry("weight", (AUTOMATIC,), (FITTED,))
register, unregister, names = _weights.register, _weights.unregister, _weights.names


@register("logarithmic")
def logarithmic(j: int, n: int) -> float:
    """w = log(t_2 - k + 1) / log(t_2 - t_1 + 1)   (Sec. 3.3, the paper's choice)."""
    return math.log1p(j) / math.log1p(n)


@register("linear")
def linear(j: int, n: int) -> float:
    """w = (t_2 - k) / (t_2 - t_1)   (Fig. 9's reference)."""
    return j / n


@register("cosine")
def cosine(j: int, n: int) -> float:
    """Half a cosine: flat at both anchors."""
    return (1 - math.cos(math.pi * j / n)) / 2


@register("sqrt")
def square_root(j: int, n: int) -> float:
    """Rises early, close to the logarithm at small n."""
    return math.sqrt(j / n)


@register("quadratic")
def quadratic(j: int, n: int) -> float:
    """Rises late: the past keeps its say through most of the window."""
    return (j / n) ** 2


@register("half")
def half(j: int, n: int) -> float:
    """Both anchors count the same inside the window; at `stop` the computed features are used."""
    return 1.0 if j == n else 0.5


@register("future")
def future(j: int, n: int) -> float:
    """w = 1: at order 1 this is linear interpolation between the two anchors."""
    return 1.0


@dataclass(frozen=True)
class Fitted:
    """Weights found step by step (see `fitting`): `factors[k]` is that of step k."""

    factors: tuple[float, ...]


def choices() -> tuple[str, ...]:
    """What may be asked for by name: the base's own choice, and every registered weight."""
    return (AUTOMATIC, *names())


def resolve(weight: str | WeightFunction) -> WeightFunction:
    """Return the function behind a registered name, or the callable itself.

    Raises:
        ConfigError: the name is unknown.
    """
    return weight if callable(weight) else _weights[weight]


def weight_at(weight: WeightFunction | Fitted, step: int, start: int, stop: int) -> float:
    """Return W(k) at `step` of the window from `start` to `stop` (step indices)."""
    if isinstance(weight, Fitted):
        return weight.factors[step] if step < stop else 1.0
    return float(weight(step - start, stop - start))
