"""Full steps and weights found at one list of noise levels, taken to a run at another. Fitted forecasts are of their
very steps: elsewhere the defaults take their place."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from . import bases, relaxation
from .config import AUTOMATIC, ZCacheConfig

UNFITTED = {
    "base": bases.AUTOMATIC,
    "weight": AUTOMATIC,
    "relax": relaxation.NAMES[0],
    "factors": None,
    "forecasts": None,
    "guidance": None,
}
SAME_GUIDANCE = 0.1  # of the scale: how far another may be from it, to be called alike
SAME = 1e-3  # distance of two noise levels that are called alike, as times of the flow


def mapped(config: ZCacheConfig, times: Sequence[float]) -> tuple[ZCacheConfig, str]:
    """The settings for a run at these noise levels, and a note if they are not those it was found at.

    Every full step goes to the step of the nearest noise level; those that meet become one. Step 0 stays
    full, and so does the last if it was. A weight is read off at the same place between its two anchors; fitted
    forecasts give way to the defaults.

    Args:
        config: settings with explicit full steps and the `times` these count.
        times: of the run's steps, from 1 (noise) to 0.
    """
    old, full = config.times, config.full_steps
    if old is None or full is None:
        return config, ""
    new = tuple(times)
    if len(new) == len(old) and all(abs(a - b) <= SAME for a, b in zip(old, new, strict=True)):
        return config, ""
    where = {step: _nearest(new, old[step]) for step in full}
    where[0] = 0
    if full[-1] == len(old) - 1:
        where[full[-1]] = len(new) - 1
    taken = {new_step: step for step, new_step in where.items()}
    steps = tuple(sorted(taken))
    factors = None
    if config.factors is not None:
        factors = _factors(config.factors, taken, steps, len(new))
    note = (
        f"the profile was found at {len(old)} steps at other noise levels: its {len(full)} full steps were "
        f"mapped to {len(steps)} of {len(new)} by noise level"
    )
    changes: dict[str, Any] = {"full_steps": steps, "factors": factors, "times": new}
    if config.base == bases.FITTED:
        changes |= UNFITTED
        note += "; its forecasts were fitted to its own steps, and the defaults took their place"
    return config.replace(**changes), note


def other_guidance(config: ZCacheConfig, scale: float | None) -> str:
    """A note, if this is another guidance than forecasts were fitted at; "" if it is not, or nobody knows it."""
    wanted = config.guidance
    if wanted is None or scale is None or abs(scale - wanted) <= SAME_GUIDANCE * abs(wanted):
        return ""
    return (
        f"the profile's forecasts were fitted at a guidance of {wanted:.3g}, and this run's is {scale:.3g}: the "
        "defaults took their place"
    )


def _nearest(times: Sequence[float], wanted: float) -> int:
    return min(range(len(times)), key=lambda k: abs(times[k] - wanted))


def _factors(
    old: Sequence[float], taken: dict[int, int], steps: Sequence[int], count: int
) -> tuple[float, ...]:
    """Each new step's weight: the old one at the same share of its window, between steps linearly."""
    factors = [1.0] * count
    for a, b in pairwise(steps):
        start, stop = taken[a], taken[b]
        for k in range(a + 1, b):
            place = start + (k - a) / (b - a) * (stop - start)
            below = min(max(int(place), start + 1), stop - 1)
            above = min(below + 1, stop - 1)
            share = min(max(place - below, 0.0), 1.0)
            if stop - start > 1:
                factors[k] = (1 - share) * old[below] + share * old[above]
    return tuple(factors)
