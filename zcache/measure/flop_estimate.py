"""What a run costs before it is run: FLOPs of each kind of pass, and bytes the cache will hold.

Counted by torch's FlopCounterMode (two per multiply-add of matrix products and attention) on the
full-size model on the meta device, through the very code that runs full and cached passes. No
weights, no device, no formula."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from ..caching.bindings import bind
from ..caching.features import tensors
from ..method import bases
from ..method.config import ZCacheConfig
from ..method.schedule import Kind
from ..models.architectures import Architecture, Shape, find

TERA = 1e12


@dataclass(frozen=True)
class PassCost:
    """FLOPs of one full and of one cached pass, and bytes of the feature of one anchor."""

    full: int
    cached: int
    feature_bytes: int


@dataclass(frozen=True)
class Estimate:
    """What a run costs.

    Attributes:
        full_tflops, cached_tflops: of one pass.
        total_tflops, plain_tflops: of the run, with and without the cache.
        speedup: plain over total: the most a clock can show.
        full_passes, forecast_passes, reflect_passes: of the walk.
        cache_bytes: the anchors' features at the fullest.
    """

    model: str
    granularity: str
    num_steps: int
    full_tflops: float
    cached_tflops: float
    total_tflops: float
    plain_tflops: float
    speedup: float
    full_passes: int
    forecast_passes: int
    reflect_passes: int
    cache_bytes: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@lru_cache(maxsize=64)
def pass_cost(model: str, granularity: str, shape: Shape | None = None) -> PassCost:
    """Count one full and one cached pass of a full-size model; `shape` None is the paper's.

    Raises:
        ConfigError: an unknown model.
    """
    architecture = find(model)
    return count(architecture, granularity, shape or architecture.shape)


def count(architecture: Architecture, granularity: str, shape: Shape) -> PassCost:
    """Count one full and one cached pass of an architecture."""
    transformer = architecture.build("meta")
    binding = bind(granularity, transformer)
    with torch.device("meta"):
        arguments = architecture.arguments(shape, architecture.config)

    def call() -> Any:
        return transformer(**arguments)

    kept: dict[str, Any] = {}

    def full() -> None:
        kept["output"], kept["feature"] = binding.full(call, {})

    def cached() -> None:
        binding.cached(call, kept["feature"], kept["output"], {})

    full_flops = _count(full)
    held = sum(t.numel() * t.element_size() for t in tensors(kept["feature"]))
    return PassCost(full_flops, _count(cached), held)


def estimate(
    model: str, config: ZCacheConfig, num_steps: int, shape: Shape | None = None
) -> Estimate:
    """Return the cost of a run of `num_steps` steps with this config.

    Raises:
        ConfigError: an unknown model, or a config that does not fit the steps.
    """
    config.plan(num_steps)
    return price(model, config, num_steps, pass_cost(model, config.granularity, shape))


def price(model: str, config: ZCacheConfig, num_steps: int, cost: PassCost) -> Estimate:
    """Return the cost of a run whose passes cost `cost`.

    Raises:
        ConfigError: a config that does not fit the steps.
    """
    plan = config.plan(num_steps)
    full, forecast, reflect = (plan.count(kind) for kind in Kind)
    total = full * cost.full + (forecast + reflect) * cost.cached
    plain = num_steps * cost.full
    used = bases.reach(bases.resolve(config.base), config.order)
    anchors = min(used + 1, len(plan.full_steps))
    return Estimate(
        model=model,
        granularity=config.granularity,
        num_steps=num_steps,
        full_tflops=cost.full / TERA,
        cached_tflops=cost.cached / TERA,
        total_tflops=total / TERA,
        plain_tflops=plain / TERA,
        speedup=plain / total,
        full_passes=full,
        forecast_passes=forecast,
        reflect_passes=reflect,
        cache_bytes=anchors * cost.feature_bytes,
    )


def _count(run: Callable[[], None]) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()
