"""Run one pipeline plainly and with Z-Cache on the same seed, and say what the cache gained and
cost.

Timing: the speedup is that of the denoising loop (`clock.py`), of the runs whose pictures are shown, as
`timing.py` defines it. Where the two runs were not timed at one pace, the accelerated one is timed once
more, with plain steps among its full ones.
Before the first timed run of a pipeline at a shape, a few untimed steps are run, two of them full,
so that neither side pays for a cold start. The accelerated run comes first, so that there is something to show
early. The steps of the plain run are counted at the scheduler, which every pipeline calls once a
step.

Both pipeline calls are the user's own: decoding is the pipeline's, and nothing is drawn
differently.
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from typing import Any

import numpy as np

from ..caching.enable import enabled
from ..caching.handle import ZCache
from ..caching.scheduler import previous_sample
from ..method import bases
from ..method.config import ZCacheConfig
from ..models.request import frame_count, side
from . import environment, preview, timing
from .beside import Beside
from .clock import LoopClock, after, before, torch_device
from .generation import Comparison, Generation
from .summary import errors, origin, summary

Call = Mapping[str, Any]
OnPass = Callable[[int, str, int], None]  # (step, kind of pass, number of steps)
OnSidePass = Callable[[str, int, str, int], None]  # the same, after the name of the side
OnSideLook = Callable[[str, np.ndarray], None]  # (name of the side, small picture)

SIDES = ("accelerated", "baseline")
ALONE = "alone"  # the base strategy without reflection
AGAIN = "again"  # the accelerated run once more, for its time
BESIDE = 4  # plain steps among those of an accelerated run
PLAIN = "plain"  # the kind of pass in a run without cache
WARM_UP_STEPS, WARM_UP_FULL_STEPS = 5, (0, 3)  # every kind of pass: 0F 1f 2f 3F 1r 2r 3r 4f

_warm: weakref.WeakKeyDictionary[Any, set[tuple[Any, ...]]] = weakref.WeakKeyDictionary()


def generate(
    pipe: Any,
    call: Call,
    config: ZCacheConfig | None = None,
    seed: int = 0,
    on_pass: OnPass | None = None,
    trace: bool = False,
    on_look: preview.OnLook | None = None,
    beside: int = 0,
) -> Generation:
    """Run `pipe(**call)` once, with the cache if `config` is given, and take its time.

    `call` needs `num_inference_steps`; the generator is made here from `seed`, on the CPU so
    that every device draws the same noise. `on_pass` is called as each pass begins; the kind is
    `full`, `forecast` or `reflect`, and `plain` without a cache. `trace` keeps the latents.
    `on_look` gets small pictures of the run in progress, outside its times, once one has finished
    (see `preview`). `beside` is how many plain steps are made between those of a cached run, outside its
    times, to tell its pace.

    Raises:
        ConfigError, RequestError: an impossible schedule or size, before anything runs.
    """
    check(call, config)
    with ExitStack() as stack:
        handle = stack.enter_context(enabled(pipe, config)) if config else None
        result = _timed(pipe, call, seed, handle, on_pass, trace, on_look, beside)
        return replace(result, report=handle.report().to_dict()) if handle else result


def compare(
    pipe: Any,
    call: Call,
    config: ZCacheConfig,
    seed: int = 0,
    on_pass: OnSidePass | None = None,
) -> Comparison:
    """Run both sides and return them; see `stages` for the arguments and errors."""
    for stage in stages(pipe, call, config, seed, on_pass):
        if isinstance(stage, Comparison):
            return stage
    raise RuntimeError("stages ended without a Comparison")


def stages(
    pipe: Any,
    call: Call,
    config: ZCacheConfig,
    seed: int = 0,
    on_pass: OnSidePass | None = None,
    baseline: Generation | None = None,
    alone: bool = False,
    on_look: OnSideLook | None = None,
) -> Iterator[Generation | Comparison]:
    """Yield the accelerated Generation as soon as it is there, then the Comparison.

    `on_pass` is called with the name of the side before the arguments of `generate`'s: "accelerated",
    "baseline", "again" or "alone". A `baseline` from an earlier run of the same call and seed is not run
    again, unless its frames or latents are of another shape; plain steps beside the accelerated ones tell its pace.
    Where a new one was timed at another pace, the accelerated run is timed "again", a side of its own.
    With `alone`, the base strategy without reflection is run too: it is the Comparison's `alone`, and
    its figures are in the report.
    `on_look` is called with the name of the side and a small picture, (h, w, 3) uint8, a few times a
    second.
    """
    check(call, config)
    with enabled(pipe, config):  # refuses here what it would refuse later, before anything runs
        pass
    warm_up(pipe, call, config)
    watch = {name: partial(on_pass, name) if on_pass else None for name in (*SIDES, AGAIN, ALONE)}
    look = {name: partial(on_look, name) if on_look else None for name in (*SIDES, ALONE)}
    accelerated = generate(
        pipe, call, config, seed, watch["accelerated"], True, look["accelerated"],
        BESIDE if baseline else 0,
    )  # fmt: skip
    yield accelerated
    if baseline is None or not _alike(baseline, accelerated):
        baseline = generate(pipe, call, None, seed, watch["baseline"], True, look["baseline"])
        if not timing.same_pace(accelerated, baseline):
            again = generate(pipe, call, config, seed, watch[AGAIN], trace=True, beside=BESIDE)
            accelerated = _with_times_of(accelerated, again)
    report = summary(accelerated, baseline) | {
        "seed": seed,
        "config": config.to_dict(),
        "call": {k: v for k, v in call.items() if _is_plain(v)},
        **environment.describe(pipe),
        "errors": errors(accelerated, baseline),
        **origin(baseline),
    }
    base = None
    if alone and config.reflect:
        bare = config.replace(reflect=False)
        base = generate(pipe, call, bare, seed, watch[ALONE], True, look[ALONE])
        report["base_alone"] = {
            **summary(base, baseline),
            "errors": errors(base, baseline),
        }
    yield Comparison(accelerated, baseline, _plain(report), base)


def _with_times_of(run: Generation, again: Generation) -> Generation:
    """Return `run` with the times of the same run made again."""
    names = ("seconds", "denoise_seconds", "passes", "beside")
    timed = replace(run, **{name: getattr(again, name) for name in names})
    if run.report is None or again.report is None:
        return timed
    return replace(timed, report=run.report | {"seconds": again.report["seconds"]})


def _alike(one: Generation, other: Generation) -> bool:
    """Whether two runs have frames of one shape and, where traced, as many latents of one shape."""
    shapes = [run.latents.shape for run in (one, other) if run.latents is not None]
    return one.frames.shape == other.frames.shape and (len(shapes) < 2 or shapes[0] == shapes[1])


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return isinstance(value, str | int | float | bool)


def _plain(report: dict[str, Any]) -> dict[str, Any]:
    """Return the report as JSON would read it back: lists for tuples, text for keys."""
    return json.loads(json.dumps(report, allow_nan=False))


def check(call: Call, config: ZCacheConfig | None) -> None:
    """Raise RequestError or ConfigError if this call or its schedule cannot be run."""
    for name in ("height", "width"):
        side(name, call.get(name), 16, 8192)
    frame_count(call.get("num_frames"), 1, 10_000)
    if config is not None and config.times is None:  # with times it is mapped to what the run has
        config.plan(call["num_inference_steps"])


def warm_up(pipe: Any, call: Call, config: ZCacheConfig) -> None:
    """Run a few untimed steps, of every kind that `config` has, if this pipeline has not yet run
    at this shape and granularity in this process."""
    import torch

    sizes = ("height", "width", "num_frames", "max_sequence_length")
    shape = (config.granularity, *map(call.get, sizes))
    done = _warm.setdefault(pipe, set())
    if shape in done:
        return
    steps = min(WARM_UP_STEPS, call["num_inference_steps"])
    full = tuple(step for step in WARM_UP_FULL_STEPS if step < steps)
    generator = torch.Generator("cpu").manual_seed(0)
    made: list[Any] = []
    with (
        enabled(pipe, _short(config, full)),
        after(pipe.scheduler, "step", lambda result: made.append(previous_sample(result))),
    ):
        output = pipe(**{**call, "num_inference_steps": steps, "generator": generator})
    preview.prime(pipe)
    preview.learn(pipe, call, made[-1], _frames(output))
    done.add(shape)


def _short(config: ZCacheConfig, full: tuple[int, ...]) -> ZCacheConfig:
    """The same kinds of passes with other full steps; what was fitted to a longer run goes."""
    weight = "logarithmic" if config.factors is not None else config.weight
    base = bases.TAYLORSEER if config.forecasts is not None else config.base
    gone = dict.fromkeys(("factors", "forecasts", "guidance", "times"))
    return config.replace(full_steps=full, weight=weight, base=base, **gone)


def _timed(
    pipe: Any,
    call: Call,
    seed: int,
    handle: ZCache | None,
    on_pass: OnPass | None,
    trace: bool,
    on_look: preview.OnLook | None,
    beside: int,
) -> Generation:
    import torch

    generator = torch.Generator("cpu").manual_seed(seed)
    traced: list[Any] = []
    clock = LoopClock(pipe)
    among = Beside(pipe, clock, beside)

    def begin(step: int, kind: str, num_steps: int) -> None:
        among.on_pass(kind)
        clock.mark(kind)
        if on_pass is not None:
            on_pass(step, kind, num_steps)

    with ExitStack() as stack:
        if trace:
            keep = after(pipe.scheduler, "step", lambda result: traced.append(_half(result)))
            stack.enter_context(keep)
        if handle is not None:
            handle.on_pass = begin
            stack.enter_context(among.watching() if beside else nullcontext())
        else:
            counted = _counter(begin, call["num_inference_steps"])
            counted()
            stack.enter_context(before(pipe.scheduler, "step", counted))
        stack.enter_context(clock)
        if on_look is not None:
            stack.enter_context(preview.looked(pipe, call, on_look, clock))
        output = pipe(**call, generator=generator)
    frames = _frames(output)
    if traced:
        preview.learn(pipe, call, traced[-1], frames)
    return Generation(
        frames,
        clock.total,
        clock.denoising,
        latents=np.stack([latent.cpu().numpy() for latent in traced]) if traced else None,
        device=environment.device_name(torch_device(pipe)),
        taken=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        passes=clock.passes,
        beside=tuple(among.seconds),
    )


def _half(result: Any) -> Any:
    """Return a copy of the latent a step returned, in half precision, still on its device."""
    import torch

    latent = previous_sample(result).detach()
    limit = torch.finfo(torch.float16).max
    return torch.nan_to_num(latent.float()).clamp(-limit, limit).to(torch.float16)


def _counter(on_pass: OnPass, num_steps: int) -> Callable[[], None]:
    """Return a function that tells, at its k-th call, that plain step k begins."""
    steps = iter(range(num_steps))

    def count() -> None:
        step = next(steps, None)
        if step is not None:
            on_pass(step, PLAIN, num_steps)

    return count


def _frames(output: Any) -> np.ndarray:
    """Return the pictures of a pipeline output as (F, H, W, 3) uint8."""
    pictures = output.frames[0] if hasattr(output, "frames") else output.images
    return np.stack([np.asarray(picture.convert("RGB")) for picture in pictures])
