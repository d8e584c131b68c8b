"""The methods a benchmark compares: Z-Cache at each granularity, its own base alone, peers, fewer
steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .config import ZCacheConfig
from .peers import cache_dit_mask, diffusers_taylorseer
from .quality import Method


@contextmanager
def scheduler_of(pipe: Any, scheduler: Any) -> Iterator[None]:
    """The pipeline with another scheduler, made from the config of its own."""
    own = pipe.scheduler
    pipe.scheduler = scheduler
    try:
        yield
    finally:
        pipe.scheduler = own


def unipc_flow(pipe: Any) -> Any:
    """UniPC of order 2 in its flow form, on the shift of the pipeline's own scheduler."""
    from diffusers import UniPCMultistepScheduler

    own = pipe.scheduler.config
    shared = {
        name: own[name]
        for name in ("use_dynamic_shifting", "time_shift_type", "num_train_timesteps")
        if name in own
    }
    return UniPCMultistepScheduler(
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        flow_shift=own.get("shift", 1.0),
        **shared,
    )


def ours(interval: int, modules: bool = True) -> list[Method]:
    """Z-Cache at every granularity, and without reflection."""
    base = ZCacheConfig(interval=interval)
    methods = [
        Method.zcache(f"Z-Cache stack N={interval}", base),
        Method.zcache(f"Z-Cache output N={interval}", base.replace(granularity="output")),
        Method.zcache(
            f"TaylorSeer (ours, no reflection) stack N={interval}", base.replace(reflect=False)
        ),
    ]
    if modules:
        methods += [
            Method.zcache(f"Z-Cache module N={interval}", base.replace(granularity="module")),
            Method.zcache(
                f"TaylorSeer (ours, no reflection) module N={interval}",
                base.replace(granularity="module", reflect=False),
            ),
        ]
    return methods


def others(interval: int, num_steps: int) -> list[Method]:
    """Caches of other libraries; one that cannot run on a pipeline is reported so."""
    full = ZCacheConfig.paper(interval).plan(num_steps).full_steps
    return [
        Method(
            f"diffusers TaylorSeer per layer N={interval}",
            lambda pipe: diffusers_taylorseer(pipe, interval),
        ),
        Method(
            f"diffusers TaylorSeer lite N={interval}",
            lambda pipe: diffusers_taylorseer(pipe, interval, lite=True),
        ),
        Method(
            f"cache-dit TaylorSeer mask N={interval}",
            lambda pipe: cache_dit_mask(pipe, full, num_steps),
        ),
    ]


def fewer_steps(interval: int, num_steps: int, flow: bool) -> list[Method]:
    """As many steps as Z-Cache has full ones: with the pipeline's own sampler, and with UniPC."""
    steps = {"num_inference_steps": len(ZCacheConfig(interval=interval).plan(num_steps).full_steps)}
    methods = [Method(f"{steps['num_inference_steps']} steps (N={interval})", call=steps)]
    if flow:
        methods.append(
            Method(
                f"UniPC, {steps['num_inference_steps']} steps (N={interval})",
                lambda pipe: scheduler_of(pipe, unipc_flow(pipe)),
                call=steps,
            )
        )
    return methods
