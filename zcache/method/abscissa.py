"""Where steps stand on the axis that a forecast runs along (ours).

TaylorSeer counts steps. A diffusion sampler mixes picture and noise as cosine and sine of an angle, and its
steps cross that angle unevenly: hardly near the noise, ever faster after it. The residual of a block stack is
nearer to a line in the angle than in the number of steps, by 1 dB and more in the picture; the output, with mild
guidance, to one in between, unless the sampler extrapolates outputs itself. The features of single layers are
not, nor is anything in a flow's time, and a second derivative knows the bend by itself (examples/study)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from . import bases
from .config import ZCacheConfig

OF_OUTPUT = 0.75  # of the angle, the rest of the number of steps


def share_of_angle(config: ZCacheConfig, noise: bool, remembers: bool = False) -> float:
    """How much of the angle is in the axis of these settings, as a run settled them: 0 counts steps.

    Args:
        noise: whether the model tells a diffusion sampler the noise.
        remembers: whether the sampler's step looks at outputs of steps before.
    """
    if not noise or (config.base, config.order) != (bases.AUTOMATIC, 1):
        return 0.0
    if config.granularity == "stack":
        return 1.0
    return OF_OUTPUT if config.granularity == "output" and not remembers else 0.0


def positions(times: Sequence[float], share: float = 1.0) -> list[float]:
    """Where every step stands, as a number of steps: from 0 at the first to T - 1 at the last.

    Steps that do not all go the same way (Heun's, that come twice), or that have no time (a schedule that begins
    without any picture), are left where they are.

    Args:
        times: of the flow, from 1 to 0, at T steps.
        share: of the angle, the rest of the number of steps.
    """
    found = [math.atan2(time, 1 - time) for time in times]
    if len(found) < 2 or not all(a > b for a, b in pairwise(found)):
        return [float(step) for step in range(len(found))]
    scale = (len(found) - 1) / (found[0] - found[-1])
    return [
        share * (found[0] - angle) * scale + (1 - share) * step for step, angle in enumerate(found)
    ]


def along(places: Sequence[float]) -> bases.Base:
    """TaylorSeer with the steps at `places`; what lies behind the last follows at distances of 1."""

    def at(step: int) -> float:
        behind = step - len(places) + 1
        return places[step] if behind <= 0 else places[-1] + behind

    def placed(anchors: Sequence[int], step: int, order: int) -> bases.Factors:
        return bases.taylor([at(anchor) for anchor in anchors], at(step), order)

    return placed
