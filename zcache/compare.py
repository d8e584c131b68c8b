"""Run one pipeline plainly and with Z-Cache on the same seed, and say what the cache gained and
cost.

Timing: the speedup is that of the denoising loop (`clock.py`), measured in the very runs whose
pictures are shown; the end-to-end times, with text encoding and decoding, stand beside it.
Before the first timed run of a pipeline at a shape, two untimed steps are run so that neither
side pays for a cold start. The accelerated run comes first, so that there is something to show
early. The steps of the plain run are counted at the scheduler, which every pipeline calls once a
step.

Both pipeline calls are the user's own: decoding is the pipeline's, and nothing is drawn
differently.
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from . import ZCacheConfig, enabled, environment, metrics
from .clock import LoopClock, before
from .request import frame_count, side

Call = Mapping[str, Any]
OnPass = Callable[[int, str, int], None]  # (step, kind of pass, number of steps)
OnSidePass = Callable[[str, int, str, int], None]  # the same, after the name of the side

SIDES = ("accelerated", "baseline")
PLAIN = "plain"  # the kind of pass in a run without cache
WARM_UP_STEPS = 2

_warm: weakref.WeakKeyDictionary[Any, set[tuple[Any, ...]]] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class Generation:
    """One finished run: its frames and its times in seconds; `report` only where a cache ran.

    `frames` is (F, H, W, 3) uint8: one frame for each picture of the batch, or for each frame of
    a video.
    """

    frames: np.ndarray
    seconds: float
    denoise_seconds: float
    report: dict[str, Any] | None = None


@dataclass(frozen=True)
class Comparison:
    """Both runs, and the report of them as plain values that JSON can hold."""

    accelerated: Generation
    baseline: Generation
    report: dict[str, Any]


def generate(
    pipe: Any,
    call: Call,
    config: ZCacheConfig | None = None,
    seed: int = 0,
    on_pass: OnPass | None = None,
) -> Generation:
    """Run `pipe(**call)` once, with the cache if `config` is given, and take its time.

    `call` needs `num_inference_steps`; the generator is made here from `seed`, on the CPU so
    that every device draws the same noise. `on_pass` is called as each pass begins; the kind is
    `full`, `forecast` or `reflect`, and `plain` without a cache.

    Raises:
        ConfigError, RequestError: an impossible schedule or size, before anything runs.
    """
    check(call, config)
    if config is None:
        return _timed(pipe, call, seed, on_pass)
    with enabled(pipe, config) as handle:
        handle.on_pass = on_pass
        result = _timed(pipe, call, seed)
        report = handle.report().to_dict()
    return Generation(result.frames, result.seconds, result.denoise_seconds, report)


def compare(
    pipe: Any,
    call: Call,
    config: ZCacheConfig,
    seed: int = 0,
    on_pass: OnSidePass | None = None,
) -> Comparison:
    """Run both sides and return them; see `stages` for the arguments and errors."""
    *_, comparison = stages(pipe, call, config, seed, on_pass)
    return comparison


def stages(
    pipe: Any,
    call: Call,
    config: ZCacheConfig,
    seed: int = 0,
    on_pass: OnSidePass | None = None,
) -> Iterator[Generation | Comparison]:
    """Yield the accelerated Generation as soon as it is there, then the Comparison.

    `on_pass` is called with "accelerated" or "baseline" before the arguments of `generate`'s.
    """
    check(call, config)
    with enabled(pipe, config):  # refuses here what it would refuse later, before anything runs
        pass
    warm_up(pipe, call)
    watch = {side_name: partial(on_pass, side_name) if on_pass else None for side_name in SIDES}
    accelerated = generate(pipe, call, config, seed, watch["accelerated"])
    yield accelerated
    baseline = generate(pipe, call, None, seed, watch["baseline"])
    report = summary(accelerated, baseline) | {
        "seed": seed,
        "config": config.to_dict(),
        "call": {k: v for k, v in call.items() if _is_plain(v)},
        **environment.describe(pipe),
    }
    yield Comparison(accelerated, baseline, _plain(report))


def summary(accelerated: Generation, baseline: Generation) -> dict[str, Any]:
    """Return the figures of two runs: times in seconds, PSNR in dB (None: identical), SSIM, the
    walk.

    PSNR and SSIM are means over the frames; where there are several, those of the worst frame
    stand beside them.
    """
    ran = accelerated.report or {}
    identical = bool(np.array_equal(baseline.frames, accelerated.frames))
    likeness: dict[str, Any] = metrics.over_frames(baseline.frames, accelerated.frames)
    if identical:
        likeness |= {"psnr": None, "psnr_worst_frame": None}
    if len(baseline.frames) == 1:
        likeness = {name: likeness[name] for name in ("psnr", "ssim")}
    return {
        "speedup": baseline.denoise_seconds / accelerated.denoise_seconds,
        "speedup_end_to_end": baseline.seconds / accelerated.seconds,
        "baseline_seconds": baseline.denoise_seconds,
        "accelerated_seconds": accelerated.denoise_seconds,
        "baseline_seconds_end_to_end": baseline.seconds,
        "accelerated_seconds_end_to_end": accelerated.seconds,
        **likeness,
        "identical": identical,
        **ran,
    }


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
    if config is not None:
        config.plan(call["num_inference_steps"])


def warm_up(pipe: Any, call: Call) -> None:
    """Run two untimed steps if this pipeline has not yet run at this shape in this process."""
    import torch

    shape = tuple(
        call.get(name) for name in ("height", "width", "num_frames", "max_sequence_length")
    )
    done = _warm.setdefault(pipe, set())
    if shape in done:
        return
    steps = min(WARM_UP_STEPS, call["num_inference_steps"])
    pipe(
        **{**call, "num_inference_steps": steps, "generator": torch.Generator("cpu").manual_seed(0)}
    )
    done.add(shape)


def _timed(pipe: Any, call: Call, seed: int, on_pass: OnPass | None = None) -> Generation:
    import torch

    generator = torch.Generator("cpu").manual_seed(seed)
    with ExitStack() as stack:
        if on_pass is not None:
            counted = _counter(on_pass, call["num_inference_steps"])
            counted()
            stack.enter_context(before(pipe.scheduler, "step", counted))
        clock = stack.enter_context(LoopClock(pipe))
        output = pipe(**call, generator=generator)
    return Generation(_frames(output), clock.total, clock.denoising)


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
