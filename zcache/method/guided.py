"""A flow with guidance: where even a damped slope leads its forecasts astray, so that reuse is better (ours).

Guidance enlarges what a forecast is off, and early in a run it decides what the picture becomes. Along the whole
slope, and with the whole correction, the newer anchor comes out on another picture; so a guided flow is forecast
along three quarters of it (`damped` in bases.py), and relaxation.py keeps less of the correction.

One that is added up from two outputs enlarges the error of each. There windows that take much of the flow's time
are better forecast by reuse, which leaves the newer anchor near enough to go back from. A guidance that the
denoiser is told, as FLUX.1-dev is, is part of what it learnt, and needs no bound (examples/study)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from .schedule import early_window

# Of the flow's time: the mean of a run's early windows, and any window, that a slope is right for.
EARLY, LONGEST = 0.07, 0.26
SHORT = 3  # steps: early windows no longer than that may take more of it


def leads_astray(full_steps: Sequence[int], times: Sequence[float]) -> bool:
    """Whether some window between these full steps is too long for a slope, with guidance that is added up.

    Args:
        times: a flow's time at every step, from 1 down.
    """
    lengths = [times[start] - times[stop] for start, stop in pairwise(full_steps)]
    steps = max((stop - start for start, stop in pairwise(full_steps)), default=0)
    early = early_window(full_steps, times)
    return max(lengths, default=0.0) > LONGEST or (steps > SHORT and early > EARLY)
