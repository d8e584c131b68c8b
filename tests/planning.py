"""The plan of a run as its scheduler places it."""

from __future__ import annotations

from typing import Any

from zcache import ZCacheConfig
from zcache.caching.times import FLOW, flow_of, prediction
from zcache.method.schedule import Plan


def planned(config: ZCacheConfig, pipe: Any, num_steps: int) -> Plan:
    """The plan for the last `num_steps` of the timesteps that the scheduler was left with."""
    diffusion = prediction(pipe.scheduler) != FLOW
    return config.plan(num_steps, flow_of(pipe.scheduler)[-num_steps:], diffusion)
