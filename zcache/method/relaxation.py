"""Relaxed reflection: how much of a window's correction is kept at its newer anchor (ours).

The features at `stop` were computed on a latent that is off by e. Where the denoised prediction hardly
moves with e, the velocity there already answers it by e / t_stop, and replaying the window overshoots
by (t_start - t_stop) / 2 * e / t_stop; the right share is 2 t_stop / (t_start + t_stop). It is near 1
along most of a run and small where the noise ends.

t is the time of the flow, 1 at noise and 0 at the picture. A diffusion schedule's noise level
s = sigma/alpha has t = s / (1 + s). Taken with s itself (`sigma`) the share is too small in the first
half of a run. In the last window the rule would keep next to nothing, where uncached runs ask for a third
to a half or more: `time` keeps at least `LEAST`.

Guidance enlarges what the newer anchor is off, near the noise more than in the picture, and the more the
longer the window is. So in a guided flow that is forecast by reuse or along a damped slope `time` keeps less
of windows longer than `LONG`, by the square of how much longer they are. Along the whole slope it goes astray
sooner: `time` keeps `MOST_OF_GUIDED` of a window that begins below the time 1 - `SETTLED` or is shorter than
`SHORT`, and less of others, by the square of how far they are from either; `FIRST_OF_GUIDED` of that in a first
window of half that length or more, which is forecast without a slope. Of a diffusion sampler with strong guidance
and few full steps it keeps nothing (examples/study)."""

from __future__ import annotations

import math

NAMES = ("time", "sigma")
LEAST = 0.4  # that `time` keeps
LONG = 0.2  # of a guided flow's time: a window whose newer anchor is far off
MOST_OF_GUIDED = 0.6  # that it keeps in a guided flow
SETTLED = 0.6  # of the flow's time has passed: what guidance chose is settled
SHORT = 0.08  # of the flow's time: a window in which the latent moves little
FIRST_OF_GUIDED = 0.25
MOST_OF_OUTPUT = 0.7  # kept where a diffusion sampler's output is cached
LONG_OF_OUTPUT = 0.12  # of the steps: a window from which on less is kept
ROUNDING = 1e-3  # of a guidance found by least squares
FULL_STEPS_OF_GUIDANCE = 4 / 3  # that a diffusion sampler needs for every unit of guidance above 1


def of_output(window: float) -> float:
    """The share to keep where a diffusion sampler's output is cached, which does not answer the latent at all.

    Args:
        window: the longest, as a part of the steps.
    """
    return MOST_OF_OUTPUT * min(1.0, LONG_OF_OUTPUT / window) ** 2


def fewest_full_steps(guidance: float) -> int:
    """The full steps of a diffusion sampler from which on a correction does more good than harm.

    With fewer the picture becomes another one either way, and guidance enlarges what the newer anchor is off by.

    Args:
        guidance: its scale, 1 for none.
    """
    return math.ceil(FULL_STEPS_OF_GUIDANCE * max(0.0, guidance - 1) - ROUNDING)


def share(
    relax: str | float | None,
    start: float,
    stop: float,
    guided: bool = False,
    first: bool = False,
    careful: bool = False,
) -> float:
    """The share of the correction to keep, from 0 to 1.

    Args:
        relax: a name, a share, or None for all of it (the paper).
        start: noise level at the older anchor: t for `time`; for `sigma` the scheduler's own, which is
            t of a flow and s of a diffusion schedule.
        stop: noise level at the newer anchor.
        guided: whether it is a flow with guidance whose features are extrapolated along the whole slope.
        first: whether it is the first window of the run.
        careful: whether it is one with features of reuse or a damped slope.
    """
    if relax is None:
        return 1.0
    if relax not in NAMES:
        return float(relax)
    if start + stop <= 0:
        return 1.0
    kept = min(1.0, 2 * stop / (start + stop))  # in inversion the noise rises
    if relax != "time":
        return kept
    if guided:
        length, settled = start - stop, min(1.0, (1 - start) / SETTLED)
        kept = MOST_OF_GUIDED * max(SHORT / max(length, SHORT), settled) ** 2
        return kept * FIRST_OF_GUIDED if first and length > SHORT / 2 else kept
    kept = max(kept, LEAST)
    return kept * min(1.0, LONG / max(start - stop, LONG)) ** 2 if careful else kept
