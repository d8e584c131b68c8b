"""A flow with guidance: where a slope leads its forecasts astray, so that it is reflected on reuse (ours).

Guidance enlarges what a forecast is off, and early in a run it decides what the picture becomes. Windows that
are short in the flow's time are extrapolated well all the same, and reflection gains most on a slope. In
longer ones the newer anchor comes out on another picture; reuse leaves it near enough to go back from.

A guidance that is added up from two outputs enlarges the error of each; one that the denoiser was told, as
FLUX.1-dev is, is part of what it learnt, and is extrapolated over longer windows (examples/study)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from .schedule import early_window


@dataclass(frozen=True)
class Bounds:
    """Lengths in the flow's time up to which a guided flow is extrapolated.

    Attributes:
        early: of the windows in the first half of a run, in the mean.
        longest: of any window.
    """

    early: float
    longest: float


ADDED = Bounds(early=0.084, longest=0.26)  # guidance added up from outputs
TOLD = Bounds(early=0.11, longest=0.34)  # guidance that the denoiser is told


def leads_astray(full_steps: Sequence[int], times: Sequence[float], told: bool = False) -> bool:
    """Whether some window between these full steps is too long for a slope.

    Args:
        times: a flow's time at every step, from 1 down.
        told: whether the denoiser is told its guidance, and nothing is added up.
    """
    bounds = TOLD if told else ADDED
    lengths = [times[start] - times[stop] for start, stop in pairwise(full_steps)]
    early = early_window(full_steps, times)
    return early > bounds.early or max(lengths, default=0.0) > bounds.longest
