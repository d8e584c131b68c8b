"""How long a run will take: from the last run of its model and shape, else from its FLOPs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..measure import flop_table
from ..measure.flop_estimate import Estimate
from ..models.catalogue import Model
from ..models.request import Request, RequestError
from .imports import import_diffusers

# A second, of a device nobody has timed. ZeroGPU lends half of an RTX PRO 6000, of whose some 250 this is a part.
LENT = "zerogpu"
TFLOPS = {"cuda": 60.0, LENT: 100.0, "cpu": 0.03}
WORK_LIMIT = 1800  # seconds of work that one visitor may ask for at once


@dataclass(frozen=True)
class Pace:
    """Seconds of a full pass, of all that is not denoising, and of a cached pass by granularity."""

    full: float
    rest: float
    cached: dict[str, float] = field(default_factory=dict)


_measured: dict[tuple[str, int | None], Pace] = {}


def learn(model: Model, request: Request, report: dict[str, Any]) -> None:
    """Remember how long the passes of a finished run took."""
    passes = report["forecast_passes"] + report["reflect_passes"]
    full = report["seconds"]["full"] / max(1, report["full_passes"])
    rest = report["accelerated_seconds_end_to_end"] - report["accelerated_seconds"]
    known = _measured.get((model.name, request.frames))
    cached = dict(known.cached) if known else {}
    if passes:
        total = report["seconds"]["forecast"] + report["seconds"]["reflect"]
        cached[request.config().granularity] = total / passes
    _measured[model.name, request.frames] = Pace(full, rest, cached)


def cost_of(model: Model, request: Request) -> Estimate | None:
    """Return the FLOPs of a run, in whichever thread; None where they cannot be known."""
    import_diffusers()
    return flop_table.of(model, request)


def seconds(
    model: Model, request: Request, cost: Estimate | None, device: str | None = None
) -> dict[str, float] | None:
    """Return the seconds of the accelerated and of the plain run, end to end.

    A cached pass that nobody has timed takes its share of the FLOPs of a full one. Without a run of this
    model and shape, and without its FLOPs on a `device` of `TFLOPS`, None.
    """
    if (pace := _measured.get((model.name, request.frames))) is None:
        if cost is None or device not in TFLOPS:
            return None
        pace = Pace(cost.full_tflops / TFLOPS[device], 0.0)
    plan = request.plan()
    full = len(plan.full_steps)
    share = cost.cached_tflops / cost.full_tflops if cost else 1.0
    cached = pace.cached.get(request.config().granularity, pace.full * share)
    accelerated = full * pace.full + (len(plan.walk) - full) * cached + pace.rest
    return {"accelerated": accelerated, "plain": request.steps * pace.full + pace.rest}


def check(model: Model, requests: list[Request], device: str) -> None:
    """Raise RequestError if these runs, and one plain run, are more work than a visitor may ask for."""
    times = [seconds(model, request, cost_of(model, request), device) for request in requests]
    total = sum(time["accelerated"] for time in times if time)
    total += max((time["plain"] for time in times if time), default=0.0)
    if total > WORK_LIMIT:
        raise RequestError(
            f"this would take about {total:.0f} s here; at most {WORK_LIMIT} s are allowed: "
            "choose fewer steps, fewer frames or a smaller model"
        )
