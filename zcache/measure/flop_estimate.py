"""What a run costs before it is run: FLOPs of each kind of pass, and bytes the cache will hold.

Counted by torch's FlopCounterMode (two per multiply-add of matrix products and attention) on the
full-size model on the meta device, through the very code that runs full and cached passes. No
weights, no device, no formula."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ..caching.bindings import bind
from ..caching.features import leaves, tensors
from ..caching.recorder import Recorder
from ..caching.tape import CONSTANT, LIVE, STEP, Tape
from ..method import bases
from ..method.config import AUTOMATIC, ZCacheConfig
from ..method.granularity import settled
from ..method.schedule import Kind, shifted
from ..models.architectures import Architecture, Shape, find
from ..models.catalogue import KNOWN, usual_guidance

TERA = 1e12
SHIFT = 3.0  # of a flow's steps, as FLUX.1-dev's at 1024 x 1024


@dataclass(frozen=True)
class PassCost:
    """FLOPs of one full and of one cached pass, bytes of the feature of one anchor, and bytes kept of one
    cached step until its window is reflected."""

    full: int
    cached: int
    feature_bytes: int
    step_bytes: int


@dataclass(frozen=True)
class Estimate:
    """What a run costs.

    Attributes:
        full_tflops, cached_tflops: of one pass.
        total_tflops, plain_tflops: of the run, with and without the cache.
        speedup: plain over total: the most a clock can show.
        full_passes, forecast_passes, reflect_passes: of the walk.
        cache_bytes: what the cache holds at the fullest: the features of the anchors, and the latents and
            outputs of the longest window where it is reflected.
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
        ConfigError: an unknown model, or a shape that it does not draw.
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

    def cached() -> Any:
        return binding.cached(call, kept["feature"], kept["output"], {})

    full_flops = _count(full)
    itemsize = architecture.dtype.itemsize
    latent = (
        arguments["hidden_states"].numel()
        * (architecture.latent_dtype or architecture.dtype).itemsize
    )
    step = _numbers(kept["output"]) * itemsize + latent
    again = _numbers(_of_step(cached, arguments, kept["feature"])) * itemsize
    return PassCost(
        full_flops,
        _count(cached),
        feature_bytes=_numbers(kept["feature"]) * itemsize,
        step_bytes=(2 * step if architecture.guided else step) + again,
    )


def _of_step(cached: Callable[[], Any], arguments: dict[str, Any], feature: Any) -> list[Tensor]:
    """What a tape of a cached pass keeps of a step: embeddings of the timestep, and modulations."""
    others = {name: x for name, x in arguments.items() if name not in ("hidden_states", "timestep")}
    lives, steps = [arguments["hidden_states"], *tensors(feature)], [arguments["timestep"]]
    known = {LIVE: lives, STEP: steps, CONSTANT: list(tensors(others))}
    recorder = Recorder(known, is_weight=lambda tensor: True)
    with torch.no_grad(), recorder:
        outputs = list(leaves(cached()))
    if recorder.fault or not recorder.are_live(outputs):  # such as no call at all
        return []
    tape = Tape(recorder, steps, lives, outputs)
    with torch.no_grad():
        return tape.of_step(tape.begin(steps))


def estimate(
    model: str, config: ZCacheConfig, num_steps: int, shape: Shape | None = None
) -> Estimate:
    """Return the cost of a run of `num_steps` steps with this config at the model's usual guidance; flows are
    told it.

    Raises:
        ConfigError: an unknown model, a shape that it does not draw, or a config that does not fit the steps.
    """
    config.plan(num_steps)
    flow = find(model).flow
    config = settled(config, num_steps, not flow, usual_guidance(KNOWN[model]))
    cost = pass_cost(model, config.granularity, shape)
    return price(model, config, num_steps, cost, flow, guided=flow)


def price(
    model: str,
    config: ZCacheConfig,
    num_steps: int,
    cost: PassCost,
    flow: bool = True,
    guided: bool = False,
) -> Estimate:
    """Return the cost of a run whose passes cost `cost`; `flow`: of a model that predicts a flow, whose
    windows may differ; `guided`: told a guidance, for which an automatic weight looks back.

    Raises:
        ConfigError: a config that does not fit the steps.
    """
    times = shifted(num_steps, SHIFT if flow else None)
    plan = config.plan(num_steps, times, not flow)
    full, forecast, reflect = (plan.count(kind) for kind in Kind)
    total = full * cost.full + (forecast + reflect) * cost.cached
    plain = num_steps * cost.full
    used = bases.reach(config.strategy, config.order)
    looks_back = any(p.weight not in (None, 1.0) for p in plan.walk)
    told = flow and guided
    if told and config.guided_base(plan.full_steps, num_steps, times) == bases.FORA:
        # Of reuse two; more before the first reflection, where there are.
        used, looks_back = max(used, 2), looks_back and plan.full_steps[1:2] == (1,)
    elif told and config.reflect:
        looks_back |= config.weight == AUTOMATIC
    anchors = min(used + looks_back, len(plan.full_steps))
    window = max(b - a for a, b in pairwise((*plan.full_steps, num_steps)))
    kept = window if config.reflect and window > 1 else 0  # and a reflect pass's own
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
        cache_bytes=anchors * cost.feature_bytes + kept * cost.step_bytes if forecast else 0,
    )


def _numbers(tree: Any) -> int:
    return sum(tensor.numel() for tensor in tensors(tree))


def _count(run: Callable[[], Any]) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()
