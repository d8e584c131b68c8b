"""FoCa (arXiv:2508.16211): features follow an ODE along the steps; a BDF2 predictor, calibrated by Heun's rule.

Its equations 6 to 8 with unit steps, over the two newest features F_k and F_{k-1}, computed or forecast, and
the slope s between the two newest computed ones:

    predicted  = 4/3 F_k - 1/3 F_{k-1} + 2/3 F'_k,          F'_k = F_k - F_{k-1}
    F'_{k+1}   = (3 predicted - 4 F_k + F_{k-1}) / 2        which is F'_k again
    F_{k+1}    = F_k + (s + F'_{k+1}) / 2

So x steps behind an anchor a the feature is F_a + s x + (d - s) (1 - 2^-x), where d = F_a - F_{a-1} compares what
was computed at a with what was forecast just before it: an error is answered by one of the other sign. All of it
is linear in the anchors' features.

Chosen: behind the second anchor held, d is s, so that two anchors give a line. Run literally, the first window,
in which nothing but reuse is possible, would be answered in the second; its authors have three full steps there."""

from __future__ import annotations

from collections.abc import Sequence

MEMORY = 16  # anchors that are held; what lies further back has faded in a run of 50 steps


def forecast(anchors: Sequence[int], step: int) -> list[float]:
    """The factors of the anchors' features in the forecast at a step behind the newest."""
    size = len(anchors)
    slope, jump = [0.0] * size, [0.0] * size
    for index in range(1, size):
        before, here = anchors[index - 1], anchors[index]
        past = _behind(index - 1, slope, jump, here - 1 - before)
        slope = [0.0] * size
        slope[index], slope[index - 1] = 1 / (here - before), -1 / (here - before)
        jump = [-value for value in past]
        jump[index] += 1.0
        if index == 1:
            jump = slope
    return _behind(size - 1, slope, jump, step - anchors[-1])


def _behind(anchor: int, slope: list[float], jump: list[float], x: int) -> list[float]:
    """F_a + s x + (d - s) (1 - 2^-x) as factors."""
    share = 1 - 2.0**-x
    found = [s * (x - share) + d * share for s, d in zip(slope, jump, strict=True)]
    found[anchor] += 1.0
    return found
