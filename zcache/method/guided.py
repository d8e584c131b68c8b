"""A flow with guidance: how little of a correction it keeps, and where reuse is the better forecast (ours).

Guidance enlarges what a forecast is off, and early in a run it decides what the picture becomes. Along the whole
slope the newer anchor comes out on another picture; so a guided flow is forecast along half of it (`damped` in
bases.py), which leaves the anchor near enough to go back from. Guidance that is added up from two outputs enlarges
the error of each: the stronger it is, and the longer the windows are while it is early, the less of the correction
is kept. Where windows take much of the flow's time reuse is the better forecast, and so it is where the output is
seen to turn far in the first window, and has long ones before it: how strong the guidance is that a denoiser is
told, as FLUX.1-dev is, its number does not say (examples/study). Along a whole slope that was asked for the
windows of such a run are corrected from where the picture is settled; before that they stay as forecast."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from .relaxation import SETTLED
from .windows import early_window

GUIDED = 1.5  # scale above which a flow is called guided
# What a slope is right for, of the flow's time, with a scale g of guidance that is added up:
EARLY, LEAST_EARLY = 0.18, 0.07  # the mean window of a run's first half, by g - 1; and at least
LONGEST, LEAST_LONGEST = 0.58, 0.29  # any window, by g - 1; and at least
LONGEST_TOLD = 0.36  # any window, where the denoiser is told its guidance
MOST_TURNED = 0.6  # of the output's size: how far it may turn in the first window
MOST_TURNED_TOLD = 0.13  # the same times any window, where the denoiser is told its guidance
TRUSTED = 0.2  # the mean window of a run's first half, by (g - 1)^2, up to which all of a correction is kept
LEAST_KEPT = 0.25


def leads_astray(
    full_steps: Sequence[int], times: Sequence[float], added: float = 1.0, turned: float = 0.0
) -> bool:
    """Whether windows between these full steps are too long for a slope.

    Args:
        times: a flow's time at every step, from 1 down.
        added: the scale g of guidance that is added up from outputs; up to `GUIDED`, the denoiser is told it.
        turned: the distance of the outputs at both ends of the first window that is gone back over, as a part of
            their size; 0 before that.
    """
    longest = _longest(full_steps, times)
    if added <= GUIDED:
        return longest > LONGEST_TOLD or turns_far(full_steps, times, turned)
    if turned > MOST_TURNED or longest > max(LEAST_LONGEST, LONGEST / (added - 1)):
        return True
    return early_window(full_steps, times) > max(LEAST_EARLY, EARLY / (added - 1))


def turns_far(full_steps: Sequence[int], times: Sequence[float], turned: float) -> bool:
    """Whether the outputs of a denoiser that is told its guidance turn too far for windows between these full steps:
    along a slope, half or whole, the newer anchor comes out on another picture.

    Args:
        times, turned: as for `leads_astray`.
    """
    return turned * _longest(full_steps, times) > MOST_TURNED_TOLD


def is_settled(time: float) -> bool:
    """Whether what a guided flow's picture becomes is settled at this time of the flow."""
    return time <= 1 - SETTLED


def _longest(full_steps: Sequence[int], times: Sequence[float]) -> float:
    return max((times[start] - times[stop] for start, stop in pairwise(full_steps)), default=0.0)


def begins_with_neighbours(full_steps: Sequence[int]) -> bool:
    """Whether a run's first two full steps are neighbours and the third is not: what they differ by is no slope."""
    first = [stop - start for start, stop in pairwise(full_steps[:3])]
    return len(first) == 2 and first[0] == 1 < first[1]


def most_kept(full_steps: Sequence[int], times: Sequence[float], added: float = 1.0) -> float:
    """The most of a correction that a flow keeps which is forecast along a damped slope, from `LEAST_KEPT` to 1.

    Args:
        times, added: as for `leads_astray`.
    """
    early = early_window(full_steps, times)
    if added <= GUIDED or early <= 0:
        return 1.0
    return min(1.0, max(LEAST_KEPT, TRUSTED / ((added - 1) ** 2 * early)))
