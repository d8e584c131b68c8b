"""Noise levels as times of the flow, from 1 (noise) to 0, for flow and diffusion schedules alike."""

from __future__ import annotations

import math
from typing import Any

from .scheduler import noise_levels

FLOW, NOISE, TRIGFLOW = "flow_prediction", "epsilon", "trigflow"


def prediction(scheduler: Any) -> str:
    """What the scheduler's model predicts; flow schedulers without a name for it predict the flow."""
    return str(getattr(getattr(scheduler, "config", None), "prediction_type", FLOW))


def steps_of(scheduler: Any) -> int:
    """How many steps the timesteps stand for; a trigflow's last one is where it ends (SANA-Sprint)."""
    return len(scheduler.timesteps) - (prediction(scheduler) == TRIGFLOW)


def flow_times(scheduler: Any) -> list[float] | None:
    """The time of every timestep: sigma of a flow, s / (1 + s) of s = sigma/alpha; None if unknown.

    A schedule that is rescaled to a terminal SNR of zero begins where alpha is 0: at the time 1."""
    levels = noise_levels(scheduler)
    if levels is None or prediction(scheduler) == FLOW:
        return levels
    return [s / (1 + s) if math.isfinite(s) else 1.0 for s in levels]


def flow_of(scheduler: Any) -> list[float]:
    """The time of every timestep of a flow; empty for a diffusion schedule."""
    return (flow_times(scheduler) or []) if prediction(scheduler) == FLOW else []
