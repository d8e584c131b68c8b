"""The one definition of the speedup: both runs timed, at the same pace, with a spread.

A full step of the accelerated run is the work of a plain step, so the two tell whether the machine
kept its pace. Where it did, both runs count as they were timed. Where it did not, the plain run counts
as so many steps at the pace of the accelerated run, which is an estimate and is called one.
`zcache/app/README.md` says it in plain words.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .generation import Generation

SAME_PACE = 1.08  # how far the mean step of one run may be from that of the other
DEAREST_FULL = 1.5  # full step over plain step beside it, at most: storing features costs less
LONGEST = 2.0  # what a pass counts at most, in medians of its kind: longer, and it was interrupted
CERTAIN = 2.0  # standard errors
NORMAL = 1.4826  # standard deviations in the median distance from the median


@dataclass(frozen=True)
class Timed:
    """A run's loop in seconds without interruptions, their standard error, its typical step, that one's error."""

    seconds: float
    error: float
    step: float | None = None
    step_error: float = 0.0


def same_pace(accelerated: Generation, baseline: Generation) -> bool:
    """Whether both runs were timed on one device at one pace, as far as their steps tell."""
    ours, plain = _plain_step_of(accelerated), timed(baseline).step
    if accelerated.device != baseline.device or ours is None or plain is None:
        return False
    return 1 / SAME_PACE <= ours.seconds / plain <= SAME_PACE


def timed(run: Generation) -> Timed:
    """Return the times of a run, each pass counted as at most `LONGEST` medians of its kind."""
    kinds = {kind: _capped([s for k, s in run.passes if k == kind]) for kind, _ in run.passes}
    lost = sum(s for _, s in run.passes) - sum(map(sum, kinds.values()))
    error = sum(len(times) * _deviation(times) ** 2 for times in kinds.values()) ** 0.5
    steps = kinds.get("plain") or kinds.get("full") or []
    seconds = run.denoise_seconds - lost
    if not steps:
        return Timed(seconds, error)
    return Timed(seconds, error, *_typical(steps))


def timing(accelerated: Generation, baseline: Generation) -> dict[str, Any]:
    """Return speedup and seconds of two runs, in the loop and end to end.

    `speedup` is always `baseline_seconds` over `accelerated_seconds`, and the same of the ones end to
    end. `speedup_is` is "measured" or "estimated", `speedup_how` says how it was estimated,
    `speedup_spread` is two standard errors. Text encoding and decoding are the same work on both
    sides and count as the accelerated run took for them.
    """
    ours, plain = timed(accelerated), timed(baseline)
    how, spread = "", plain.error / plain.seconds
    seconds = plain.seconds
    if not same_pace(accelerated, baseline):
        seconds, spread, how = _at_pace_of(accelerated, baseline)
    rest = accelerated.seconds - accelerated.denoise_seconds
    speedup = seconds / ours.seconds
    return {
        "speedup": speedup,
        "speedup_is": "estimated" if how else "measured",
        "speedup_how": how,
        "speedup_spread": CERTAIN * speedup * (spread**2 + (ours.error / ours.seconds) ** 2) ** 0.5,
        "speedup_end_to_end": (seconds + rest) / (ours.seconds + rest),
        "baseline_seconds": seconds,
        "accelerated_seconds": ours.seconds,
        "baseline_seconds_end_to_end": seconds + rest,
        "accelerated_seconds_end_to_end": ours.seconds + rest,
        "timed": {
            "baseline_seconds": baseline.denoise_seconds,
            "accelerated_seconds": accelerated.denoise_seconds,
            "baseline_seconds_end_to_end": baseline.seconds,
            "accelerated_seconds_end_to_end": accelerated.seconds,
        },
    }


def _at_pace_of(accelerated: Generation, baseline: Generation) -> tuple[float, float, str]:
    """Return the seconds of the plain run at the pace of the accelerated one, their relative error, and
    how they are known."""
    ours, plain, step = timed(accelerated), timed(baseline), _plain_step_of(accelerated)
    steps = (accelerated.report or {}).get("num_steps", 0)
    if step is None or not steps:
        return plain.seconds, plain.error / plain.seconds, "the steps of the runs were not seen"
    before = baseline.denoise_seconds / steps
    why = f"the machine changed its pace ({before:.3g} s a step when the plain run was timed)"
    if baseline.device != accelerated.device:
        why = f"the plain run was timed on {baseline.device}"
    how = (
        f"{why}, so the plain run counts as {steps} steps of {step.seconds:.3g} s, {step.what}, and "
        f"that over the {ours.seconds:.3g} s of this run"
    )
    return steps * step.seconds, step.error / step.seconds, how


@dataclass(frozen=True)
class _Step:
    seconds: float
    error: float
    what: str


def _plain_step_of(run: Generation) -> _Step | None:
    """Return what a plain step took at the pace of an accelerated run; None if no full step was seen.

    That is a full step of the run, unless the plain steps beside its full ones took surely less. How much
    less is bounded: what a cache adds to a full step is small, and nothing makes it cheaper.
    """
    ours = timed(run)
    if ours.step is None:
        return None
    full = _Step(ours.step, ours.step_error, "what a full step took in this run")
    if not (beside := _capped(run.beside)):
        return full
    plain, error = _typical(beside)
    if abs(plain - ours.step) <= CERTAIN * (error**2 + ours.step_error**2) ** 0.5:
        return full
    if ours.step / DEAREST_FULL <= plain <= ours.step * SAME_PACE:
        return _Step(
            plain, error, f"what {len(beside)} plain steps among those of this run typically took"
        )
    what = f"{full.what}, though a plain one beside it took {plain:.3g} s"
    return _Step(full.seconds, full.error, what)


def above_flops(report: dict[str, Any], flops_speedup: float | None) -> str:
    """Return why a speedup is above the ratio of FLOPs, "" where it is not."""
    over = report["speedup"]
    if flops_speedup is None or over <= flops_speedup:
        return ""
    if over - report["speedup_spread"] <= flops_speedup:
        why = "by less than its spread"
    else:
        why = "cached passes took a smaller share of the time than of the FLOPs"
    return f"above the {flops_speedup:.2f} times fewer FLOPs {why}"


def _capped(times: Sequence[float]) -> list[float]:
    most = LONGEST * statistics.median(times) if times else 0.0
    return [min(time, most) for time in times]


def _deviation(times: Sequence[float]) -> float:
    return statistics.stdev(times) if len(times) > 1 else 0.0


def _typical(times: Sequence[float]) -> tuple[float, float]:
    """The median and its error, by the median distance from it: a run's first full step also checks the cache,
    once, and would be taken for a slower machine in the mean of few."""
    middle = statistics.median(times)
    distance = statistics.median(abs(time - middle) for time in times)
    return middle, NORMAL * distance / len(times) ** 0.5
