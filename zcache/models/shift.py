"""How a model's flow falls: the shift of its schedule, as its pipeline tells the scheduler."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..method.schedule import shifted
from . import folder
from .catalogue import Model
from .request import Request

PIXELS = 16  # a side of what one token of FLUX stands for
# The schedulers of the checkpoints on the Hub; FLUX.1-dev's is told the logarithm of a shift by the picture's size.
ON_THE_HUB: dict[str, dict[str, Any]] = {
    "FluxPipeline": {"use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15},
    "HunyuanVideoPipeline": {"shift": 7.0},
}


def flow_times(model: Model, request: Request) -> list[float]:
    """Return the flow's time at every step of a request, from 1 down; empty of a model that is no flow, or of which
    nobody knows the schedule."""
    if request.kind == "class":
        return []
    config = ON_THE_HUB.get(model.pipeline, {})
    if model.local:
        config = folder.config(model.local / "scheduler", "scheduler_config.json")
    size = [getattr(request, side) or model.call.get(side) or 1024 for side in ("height", "width")]
    return shifted(request.steps, _shift(config, size[0] // PIXELS * (size[1] // PIXELS)))


def _shift(config: Mapping[str, Any], tokens: int) -> float | None:
    """The shift of a flow scheduler with this configuration; None where its times fall otherwise."""
    strange = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "shift_terminal")
    if any(config.get(name) for name in strange):
        return None
    if not config.get("use_dynamic_shifting"):
        return config.get("shift")
    if config.get("time_shift_type", "exponential") != "exponential":
        return None
    few, many = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    low, high = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    return math.exp(low + (high - low) * (tokens - few) / (many - few))
