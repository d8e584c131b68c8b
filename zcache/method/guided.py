"""A flow with guidance: where even a damped slope leads its forecasts astray, so that reuse is better (ours).

Guidance enlarges what a forecast is off, and early in a run it decides what the picture becomes. Along the whole
slope the newer anchor comes out on another picture; so a guided flow is forecast along half of it (`damped` in
bases.py), which leaves the anchor near enough to go back from with nearly all of the correction.

Where windows take much of the flow's time reuse is the better forecast; sooner so with guidance that is added up
from two outputs, which enlarges the error of each. One that the denoiser is told, as FLUX.1-dev is, is part of
what it learnt (examples/study)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from .schedule import early_window


@dataclass(frozen=True)
class Bounds:
    """Of the flow's time, what a slope is right for.

    Attributes:
        early: mean of the windows in the first half of a run.
        longest: of any window.
    """

    early: float
    longest: float


ADDED = Bounds(early=0.09, longest=0.29)  # guidance added up from outputs
TOLD = Bounds(early=math.inf, longest=0.36)  # guidance that the denoiser is told


def leads_astray(full_steps: Sequence[int], times: Sequence[float], told: bool = False) -> bool:
    """Whether windows between these full steps are too long for a slope.

    Args:
        times: a flow's time at every step, from 1 down.
        told: whether the denoiser is told its guidance, and nothing is added up.
    """
    bounds = TOLD if told else ADDED
    longest = max((times[start] - times[stop] for start, stop in pairwise(full_steps)), default=0.0)
    return longest > bounds.longest or early_window(full_steps, times) > bounds.early
