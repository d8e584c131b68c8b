"""A flow with guidance: where even a damped slope leads its forecasts astray, so that reuse is better (ours).

Guidance enlarges what a forecast is off, and early in a run it decides what the picture becomes. Along the whole
slope the newer anchor comes out on another picture; so a guided flow is forecast along half of it (`damped` in
bases.py), which leaves the anchor near enough to go back from with nearly all of the correction.

Where windows take much of the flow's time reuse is the better forecast; sooner so with guidance that is added up
from two outputs, which enlarges the error of each, and the sooner the stronger it is. One that the denoiser is
told, as FLUX.1-dev is, is part of what it learnt (examples/study)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from .schedule import early_window

GUIDED = 1.5  # scale above which a flow is called guided
EARLY = 0.28  # of the flow's time, by (g - 1)^2: the mean window of a run's first half that a slope is right for
LONGEST = 0.29  # of the flow's time: any window, with guidance that is added up
LONGEST_TOLD = 0.36  # with one that the denoiser is told


def leads_astray(full_steps: Sequence[int], times: Sequence[float], added: float = 1.0) -> bool:
    """Whether windows between these full steps are too long for a slope.

    Args:
        times: a flow's time at every step, from 1 down.
        added: the scale g of guidance that is added up from outputs; up to `GUIDED`, the denoiser is told it.
    """
    longest = max((times[start] - times[stop] for start, stop in pairwise(full_steps)), default=0.0)
    if added <= GUIDED:
        return longest > LONGEST_TOLD
    return longest > LONGEST or early_window(full_steps, times) > EARLY / (added - 1) ** 2
