"""The methods a benchmark compares: Z-Cache at each granularity, its own base alone, peers, fewer
steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

from ...caching.enable import enabled
from ...caching.handle import ZCache
from ...method.config import ZCacheConfig
from ...method.recommended import recommended
from ..method import Method
from .layerwise.calibration import calibrated
from .libraries import (
    cache_dit_dynamic,
    cache_dit_mask,
    diffusers_first_block,
    diffusers_mag,
    diffusers_taylorseer,
    mag_ratios,
)
from .toca.on_pipeline import duca, toca


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


def unipc(pipe: Any) -> Any:
    """UniPC of order 2 for the pipeline's own kind of sampler."""
    from diffusers import UniPCMultistepScheduler

    if is_flow(pipe):
        return unipc_flow(pipe)
    return UniPCMultistepScheduler.from_config(pipe.scheduler.config)


def dpm(pipe: Any) -> Any:
    """DPM-Solver++ of order 2, on the pipeline's own shift of the noise levels."""
    from diffusers import DPMSolverMultistepScheduler

    class FlowDPM(DPMSolverMultistepScheduler):
        """Takes a pipeline's even noise levels for their number; its own are even, and shifted alike."""

        def set_timesteps(
            self,
            num_inference_steps: int | None = None,
            device: Any = None,
            sigmas: Any = None,
            **kwargs: Any,
        ) -> None:
            steps = num_inference_steps if sigmas is None else len(sigmas)
            super().set_timesteps(steps, device, **kwargs)  # type: ignore[misc]  # untyped there

    if not is_flow(pipe):
        return DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    shared = unipc_flow(pipe).config
    kept = (
        "prediction_type",
        "use_flow_sigmas",
        "flow_shift",
        "use_dynamic_shifting",
        "time_shift_type",
        "num_train_timesteps",
    )
    return FlowDPM(**{name: shared[name] for name in kept})


def is_flow(pipe: Any) -> bool:
    """Whether the pipeline samples by flow matching."""
    return type(pipe.scheduler).__name__.startswith("FlowMatch")


def ours(interval: int, modules: bool = True) -> list[Method]:
    """Z-Cache as recommended for the pipeline, at every granularity, and without reflection."""
    settings: dict[str, dict[str, Any]] = {
        "Z-Cache": {},
        "Z-Cache stack": {"granularity": "stack"},
        "Z-Cache output": {"granularity": "output"},
        "TaylorSeer (ours, no reflection) stack": {"granularity": "stack", "reflect": False},
    }
    if modules:
        settings |= {
            "Z-Cache module": {"granularity": "module"},
            "TaylorSeer (ours, no reflection) module": {"granularity": "module", "reflect": False},
        }
    return [
        Method(
            f"{family} N={interval}",
            partial(_recommended, interval=interval, changes=changes),
            family=family,
        )
        for family, changes in settings.items()
    ]


def _recommended(
    pipe: Any, interval: int, changes: dict[str, Any]
) -> AbstractContextManager[ZCache]:
    return enabled(pipe, recommended(pipe, interval, **changes))


def others(interval: int, num_steps: int) -> list[Method]:
    """Peers' caches by the interval; one that cannot run on a pipeline is reported so."""
    full = ZCacheConfig.paper(interval).plan(num_steps).full_steps
    ways = {
        "diffusers TaylorSeer per layer": lambda pipe: diffusers_taylorseer(pipe, interval),
        "diffusers TaylorSeer lite": lambda pipe: diffusers_taylorseer(pipe, interval, lite=True),
        "cache-dit TaylorSeer mask": lambda pipe: cache_dit_mask(pipe, full, num_steps),
        "ToCa": lambda pipe: toca(pipe, interval),
        "DuCa": lambda pipe: duca(pipe, interval),
    }
    return [Method(f"{family} N={interval}", way, family=family) for family, way in ways.items()]


def adaptive(num_steps: int, draw: Callable[..., Any]) -> list[Method]:
    """Peers' caches that decide for themselves when to compute, from careful to bold.

    Args:
        draw: an uncached run of a pipeline, of the sample of an index (0 if none is given); MagCache
            and SmoothCache are calibrated so when they are first used.
    """
    known: dict[int, list[float]] = {}

    @contextmanager
    def mag(pipe: Any, threshold: float, skip: int) -> Iterator[None]:
        if id(pipe) not in known:
            known[id(pipe)] = mag_ratios(pipe, lambda: draw(pipe), num_steps)
        with diffusers_mag(pipe, threshold, skip, known[id(pipe)], num_steps):
            yield

    methods = [
        Method(
            f"diffusers FirstBlockCache {threshold}",
            partial(diffusers_first_block, threshold=threshold),
            family="diffusers FirstBlockCache",
        )
        for threshold in (0.05, 0.1, 0.2, 0.4)
    ]
    methods += [
        Method(
            f"diffusers MagCache {threshold} K={skip}",
            partial(mag, threshold=threshold, skip=skip),
            family="diffusers MagCache",
        )
        for threshold, skip in ((0.06, 3), (0.12, 5), (0.24, 8))
    ]
    methods += [
        Method(
            f"cache-dit dynamic {threshold}",
            partial(cache_dit_dynamic, threshold=threshold, num_steps=num_steps),
            family="cache-dit dynamic",
        )
        for threshold in (0.08, 0.16, 0.32)
    ]
    methods += [
        Method(f"SmoothCache {alpha}", calibrated(alpha, num_steps, draw), family="SmoothCache")
        for alpha in (0.08, 0.18, 0.22)
    ]
    return methods


def _solved(way: Callable[[Any], Any], pipe: Any) -> AbstractContextManager[None]:
    return scheduler_of(pipe, way(pipe))


def fewer_steps(interval: int, num_steps: int) -> list[Method]:
    """As many steps as Z-Cache has full ones: with the pipeline's own sampler, with UniPC, and with DPM-Solver++."""
    steps = {"num_inference_steps": len(ZCacheConfig(interval=interval).plan(num_steps).full_steps)}
    ways = {"UniPC": unipc, "DPM-Solver++": dpm}
    return [
        Method(f"fewer steps N={interval}", call=steps, family="fewer steps"),
        *(
            Method(
                f"{solver}, fewer steps N={interval}",
                partial(_solved, way),
                call=steps,
                family=f"{solver}, fewer steps",
            )
            for solver, way in ways.items()
        ),
    ]
