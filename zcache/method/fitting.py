"""Fitted weights: how far each step of each window is best to trust the newer anchor.

Past and future forecasts are linear in the anchors' features, so with e = past - r_k and
d = future - past the weight that brings (1-w) past + w future nearest to the feature r_k is
w = -<e, d> / <d, d>: one number per step, from the Gram matrix of an uncached run alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from . import bases
from .knots import Gram, Terms, add, inner, squared

LARGEST = 1.5  # of a weight: the newer anchor's forecast may be overshot by half


def fit(
    gram: Gram, full_steps: Sequence[int], base: str = "taylorseer", order: int = 1
) -> tuple[float, ...]:
    """The best weight of every step, in [0, 1.5]; 1 at full steps and behind the last.

    Args:
        gram: T x T inner products of the features of an uncached run.
        full_steps: ascending, from 0.
        base: the strategy of both forecasts.
        order: its order O.

    Raises:
        ConfigError: an unknown base.
    """
    strategy = bases.resolve(base)
    factors = [1.0] * len(gram)
    for index, (start, stop) in enumerate(pairwise(full_steps)):
        known = list(full_steps[: index + 1])
        for k in range(start + 1, stop):
            past = forecast(strategy, known, k, order)
            future = forecast(strategy, [*known, stop], k, order)
            error = dict(past)
            add(error, {k: -1.0})
            add(future, past, -1.0)
            length = squared(gram, future)
            best = -inner(gram, error, future) / length if length > 0 else 1.0
            factors[k] = min(max(best, 0.0), LARGEST)
    return tuple(factors)


def forecast(strategy: bases.Base, anchors: Sequence[int], step: int, order: int) -> Terms:
    """A forecast as a combination of the anchors' features."""
    used = strategy(anchors, step, order)
    return dict(zip(anchors[-len(used) :], used, strict=True))
