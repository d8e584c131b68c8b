"""A flow with guidance: where even a damped slope leads its forecasts astray, so that reuse is better (ours).

Guidance enlarges what a forecast is off, and early in a run it decides what the picture becomes. Along the whole
slope the newer anchor comes out on another picture; so a guided flow is forecast along half of it (`damped` in
bases.py), which leaves the anchor near enough to go back from with nearly all of the correction.

Guidance that is added up from two outputs enlarges the error of each. There windows that take much of the flow's
time are better forecast by reuse. A guidance that the denoiser is told, as FLUX.1-dev is, is part of what it
learnt, and needs no bound (examples/study)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from .schedule import early_window

# Of the flow's time: the mean of a run's early windows, and any window, that a slope is right for.
EARLY, LONGEST = 0.09, 0.29


def leads_astray(full_steps: Sequence[int], times: Sequence[float]) -> bool:
    """Whether windows between these full steps are too long for a slope, with guidance that is added up.

    Args:
        times: a flow's time at every step, from 1 down.
    """
    longest = max((times[start] - times[stop] for start, stop in pairwise(full_steps)), default=0.0)
    return longest > LONGEST or early_window(full_steps, times) > EARLY
