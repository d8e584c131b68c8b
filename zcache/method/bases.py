"""Base strategies C(H_A, k): a feature at a cached step from the anchors computed so far.

Every published forecast is linear in the anchors' features, so a strategy is a pure function that
returns the scalar factors of the newest anchors: feature(k) = sum_i factor_i * feature(anchor_i).
The blend of a reflection, (1-w) C(H_A, k) + w C(H_{A+stop}, k), is linear too and is added up in
the factors, before any tensor is touched."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from . import foca as predictor
from . import spectrum as chebyshev
from .registry import Registry

Factors = tuple[float, ...]
Base = Callable[[Sequence[int], int, int], Factors]
AUTOMATIC = "automatic"  # `taylorseer`; `damped` or `fora` where reflection finds a flow guided
TAYLORSEER, FORA, DAMPED = "taylorseer", "fora", "damped"
FITTED = "fitted"  # `ZCacheConfig.forecasts` are the factors (see forecasts.py)
OF_SLOPE = 0.5  # that `damped` keeps
LONGEST = 64  # anchors that are offered to a base to see how many it uses

_bases: Registry[Base] = Registry("base", (AUTOMATIC,), (FITTED,))
register, unregister, names = _bases.register, _bases.unregister, _bases.names


def choices() -> tuple[str, ...]:
    """What may be asked for by name: the choice by the run, and every registered base."""
    return (AUTOMATIC, *names())


def named(name: str) -> str:
    """The registered name that a run begins with."""
    return TAYLORSEER if name == AUTOMATIC else name


def resolve(name: str) -> Base:
    """Return the strategy that a run begins with; raises ConfigError for an unknown name."""
    return _bases[named(name)]


def interpolates(base: Base, order: int) -> bool:
    """Return whether a base's forecast from two anchors passes through both of them.

    With more anchors `spectrum` and order 2 miss the older one by a little. The linear weight in their place was
    tried on the models of examples/study/bases.md: worse by 1 to 5 dB for the first, mixed for the second."""
    older, newer = 0, 2
    return all(
        abs(factor - (anchor == step)) < 1e-9
        for step in (older, newer)
        for anchor, factor in _by_anchor(base, (older, newer), step, order)
    )


def is_careful(base: Base, order: int) -> bool:
    """Whether a base reuses the newest feature, or goes only some of the way from it."""
    return base is damped or reuses(base, order)


def _by_anchor(
    base: Base, anchors: Sequence[int], step: int, order: int
) -> Iterator[tuple[int, float]]:
    factors = base(anchors, step, order)
    unused = (0.0,) * (len(anchors) - len(factors))
    return zip(anchors, (*unused, *factors), strict=True)


@register(TAYLORSEER)
def taylorseer(anchors: Sequence[int], step: int, order: int) -> Factors:
    """TaylorSeer (arXiv:2503.06923): sum_i D_i x^i / i!, x = step - newest anchor.

    D_0 is the newest feature and D_i = (D_{i-1} at the newest anchor - D_{i-1} at the one before) /
    h with the distance h of those two anchors at every order, as published. Above order 1 and with
    uneven anchors this is not a divided difference; it is the published recursion.

    Args:
        anchors: steps of the known anchors, ascending; the newest last.
        step: k, the step to forecast; may lie before the newest anchor.
        order: O, the highest derivative; fewer anchors silently give a lower one.

    Returns:
        One factor for each of the newest `order + 1` (or fewer) anchors, oldest first.
    """
    return taylor(anchors, step, order)


def taylor(anchors: Sequence[float], at: float, order: int) -> Factors:
    """`taylorseer` of anchors and a step that stand anywhere on an axis."""
    x = at - anchors[-1]
    return _expanded(anchors, [x**i / math.factorial(i) for i in range(order + 1)])


def _expanded(anchors: Sequence[float], polynomials: Sequence[float]) -> Factors:
    """Return sum_i D_i polynomials[i] over as many derivatives as there are anchors for."""
    used = list(anchors[-len(polynomials) :])
    factors = [0.0] * len(used)
    for i, scale in enumerate(polynomials[: len(used)]):
        for position, value in enumerate(_difference(used, i)):
            factors[position] += value * scale
    return tuple(factors)


def _difference(anchors: list[float], order: int) -> list[float]:
    """Return D_order at the newest anchor, as factors of the anchors' features."""
    if order == 0:
        return [0.0] * (len(anchors) - 1) + [1.0]
    newer = _difference(anchors, order - 1)
    older = [*_difference(anchors[:-1], order - 1), 0.0]
    distance = anchors[-1] - anchors[-2]
    return [(a - b) / distance for a, b in zip(newer, older, strict=True)]


@register(FORA)
def fora(anchors: Sequence[int], step: int, order: int) -> Factors:
    """FORA (arXiv:2407.01425): the newest anchor's feature is used again. The order plays no
    part."""
    return (1.0,)


@register(DAMPED)
def damped(anchors: Sequence[int], step: int, order: int) -> Factors:
    """Half of TaylorSeer's way from the newest anchor's feature (ours), for a flow with guidance: reuse stays
    behind, and the whole slope leads astray (guided.py)."""
    *older, newest = taylorseer(anchors, step, order)
    return (*(OF_SLOPE * factor for factor in older), 1 - OF_SLOPE + OF_SLOPE * newest)


def undecided(anchors: Sequence[int], step: int, order: int) -> Factors:
    """FORA's reuse, for a run that may yet turn to a slope: it holds the anchors of one."""
    return (*(0.0 for _ in anchors[-order - 1 : -1]), 1.0)


@register("teacache")
def teacache(anchors: Sequence[int], step: int, order: int) -> Factors:
    """TeaCache (arXiv:2411.19108) reuses as FORA does; it differs in when it computes (see
    teacache.py)."""
    return (1.0,)


@register("hicache")
def hicache(anchors: Sequence[int], step: int, order: int) -> Factors:
    """HiCache (arXiv:2508.16984): TaylorSeer's derivatives D_i on scaled Hermite polynomials,
    sum_i D_i sigma^i H_i(sigma x) / i!, in place of x^i / i!.

    Its authors run FLUX with sigma 0.7 and order 2; here sigma is 1/sqrt(2), with which a line is forecast
    exactly, and sigma^i H_i(sigma x) is He_i(x), of the recursion below. So orders 0 and 1 are TaylorSeer's."""
    x = float(step - anchors[-1])
    hermite = [1.0, x]
    for i in range(1, order):
        hermite.append(x * hermite[-1] - i * hermite[-2])
    scaled = [value / math.factorial(i) for i, value in enumerate(hermite)]
    return _expanded(anchors, scaled[: order + 1])


@register("foca")
def foca(anchors: Sequence[int], step: int, order: int) -> Factors:
    """FoCa (arXiv:2508.16211): a BDF2 predictor calibrated by Heun's rule, step by step from the newest anchor
    (see foca.py). The order plays no part.

    At steps before the newest anchor, which only reflection asks for, it is the line through the newest two."""
    used = anchors[-predictor.MEMORY :]
    if step <= used[-1]:
        return _expanded(used, [1.0, float(step - used[-1])])
    return tuple(predictor.forecast(used, step))


@register("spectrum")
def spectrum(anchors: Sequence[int], step: int, order: int) -> Factors:
    """Spectrum (arXiv:2603.01623): half a Chebyshev fit over the newest ten anchors, half the line through
    the newest two (see spectrum.py). The order plays no part.

    Its authors begin with five full steps; with fewer anchors the line stands alone. The ridge shrinks what
    it fits, so that features which never change are forecast up to a few percent too small."""
    used = anchors[-chebyshev.MEMORY :]
    line = _expanded(used, [1.0, float(step - used[-1])])
    if len(used) <= chebyshev.DEGREE:
        return line
    line = (0.0,) * (len(used) - len(line)) + line
    w = chebyshev.WEIGHT
    fit = chebyshev.fitted(used, step)
    return tuple((1 - w) * a + w * b for a, b in zip(line, fit, strict=True))


def reach(base: Base, order: int) -> int:
    """Return how many of the newest anchors a base uses when there are many, to look ahead or back."""
    many = tuple(range(LONGEST))
    return max(len(base(many, step, order)) for step in (LONGEST, LONGEST - 2))


def reuses(base: Base, order: int) -> bool:
    """Return whether a base's forecast is the newest anchor's feature."""
    return reach(base, order) == 1


def blend(base: Base, anchors: Sequence[int], step: int, order: int, weight: float) -> Factors:
    """Return the reflection, (1-w) C(H_A, k) + w C(H_{A+stop}, k), as factors of `anchors`, the
    newest of which is `stop` (Sec. 3.3).

    Returns:
        One factor per anchor of the longer of the two forecasts, oldest first; at order 1 that is
        three.
    """
    past = (*base(anchors[:-1], step, order), 0.0)
    future = base(anchors, step, order)
    length = max(len(past), len(future))
    past = (0.0,) * (length - len(past)) + past
    future = (0.0,) * (length - len(future)) + future
    return tuple((1 - weight) * p + weight * f for p, f in zip(past, future, strict=True))
