"""Run one pipeline plainly and with Z-Cache on the same seed, and say what the cache gained and
cost.

Timing: the speedup is that of the denoising loop (`clock.py`), measured in the very runs whose
pictures are shown; the end-to-end times, with text encoding and decoding, stand beside it.
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
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from typing import Any

import numpy as np

from . import ZCacheConfig, enabled, environment, metrics
from .clock import LoopClock, after, before, torch_device
from .request import frame_count, side
from .sampler import previous_sample

Call = Mapping[str, Any]
OnPass = Callable[[int, str, int], None]  # (step, kind of pass, number of steps)
OnSidePass = Callable[[str, int, str, int], None]  # the same, after the name of the side

SIDES = ("accelerated", "baseline")
ALONE = "alone"  # the base strategy without reflection
PLAIN = "plain"  # the kind of pass in a run without cache
WARM_UP_STEPS, WARM_UP_FULL_STEPS = 5, (0, 3)  # every kind of pass: 0F 1f 2f 3F 1r 2r 3r 4f
SAME_PACE = 1.3  # how far the time of a full step may be off for a stored run to count as measured

_warm: weakref.WeakKeyDictionary[Any, set[tuple[Any, ...]]] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class Generation:
    """One finished run: its frames and its times in seconds; `report` only where a cache ran.

    `frames` is (F, H, W, 3) uint8: one frame for each picture of the batch, or for each frame of
    a video. `latents` is (steps, ...) float16, what the sampling had after each step, where it was
    traced. `device` and `taken` say where and when; `stored` that it was not run now.
    """

    frames: np.ndarray
    seconds: float
    denoise_seconds: float
    report: dict[str, Any] | None = None
    latents: np.ndarray | None = None
    device: str = ""
    taken: str = ""
    stored: bool = False


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
    trace: bool = False,
) -> Generation:
    """Run `pipe(**call)` once, with the cache if `config` is given, and take its time.

    `call` needs `num_inference_steps`; the generator is made here from `seed`, on the CPU so
    that every device draws the same noise. `on_pass` is called as each pass begins; the kind is
    `full`, `forecast` or `reflect`, and `plain` without a cache. `trace` keeps the latents.

    Raises:
        ConfigError, RequestError: an impossible schedule or size, before anything runs.
    """
    check(call, config)
    if config is None:
        return _timed(pipe, call, seed, on_pass, trace)
    with enabled(pipe, config) as handle:
        handle.on_pass = on_pass
        result = _timed(pipe, call, seed, trace=trace)
        return replace(result, report=handle.report().to_dict())


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
    baseline: Generation | None = None,
    alone: bool = False,
) -> Iterator[Generation | Comparison]:
    """Yield the accelerated Generation as soon as it is there, then the Comparison.

    `on_pass` is called with the name of the side before the arguments of `generate`'s: "accelerated",
    "baseline" or "alone". A `baseline` from an earlier run of the same call and seed is not run again.
    With `alone`, the base strategy without reflection is run too, and its figures are in the report.
    """
    check(call, config)
    with enabled(pipe, config):  # refuses here what it would refuse later, before anything runs
        pass
    warm_up(pipe, call, config)
    watch = {
        side_name: partial(on_pass, side_name) if on_pass else None for side_name in (*SIDES, ALONE)
    }
    accelerated = generate(pipe, call, config, seed, watch["accelerated"], trace=True)
    yield accelerated
    if baseline is None:
        baseline = generate(pipe, call, None, seed, watch["baseline"], trace=True)
    report = summary(accelerated, baseline) | {
        "seed": seed,
        "config": config.to_dict(),
        "call": {k: v for k, v in call.items() if _is_plain(v)},
        **environment.describe(pipe),
        "errors": errors(accelerated, baseline),
        **origin(accelerated, baseline),
    }
    if alone and config.reflect:
        bare = config.replace(reflect=False)
        base = generate(pipe, call, bare, seed, watch[ALONE], trace=True)
        report["base_alone"] = {
            **summary(base, baseline),
            "errors": errors(base, baseline),
        }
    yield Comparison(accelerated, baseline, _plain(report))


def errors(run: Generation, baseline: Generation) -> list[float]:
    """Return the distance of the latent from the baseline's after each step, relative to its size;
    empty where the latents were not traced."""
    if run.latents is None or baseline.latents is None:
        return []
    pairs = zip(run.latents, baseline.latents, strict=True)
    return [_distance(ours.astype(np.float32), plain.astype(np.float32)) for ours, plain in pairs]


def _distance(ours: np.ndarray, plain: np.ndarray) -> float:
    size = float(np.linalg.norm(plain))
    return float(np.linalg.norm(ours - plain)) / size if size else 0.0


def origin(accelerated: Generation, baseline: Generation) -> dict[str, Any]:
    """Return where the baseline is from, and the speedup as an estimate if its time cannot be
    measured against this device's."""
    known = {
        "baseline_from": "the store" if baseline.stored else "this run",
        "baseline_device": baseline.device,
        "baseline_taken": baseline.taken,
        "speedup_is": "measured",
    }
    ran = accelerated.report or {}
    if not ran.get("full_passes"):
        return known
    full = ran["seconds"]["full"] / ran["full_passes"]
    plain = baseline.denoise_seconds / ran["num_steps"]
    why = ""
    if baseline.device != accelerated.device:
        why = f"the plain run was timed on {baseline.device}"
    elif baseline.stored and not 1 / SAME_PACE <= full / plain <= SAME_PACE:
        why = f"a step took {plain:.3g} s when the plain run was timed"
    if not why:
        return known
    return known | {
        "speedup_is": "estimated",
        "speedup_how": f"{ran['num_steps']} steps of {full:.3g} s, a full step of this run, over its "
        f"{accelerated.denoise_seconds:.3g} s; {why}",
        "speedup": ran["num_steps"] * full / accelerated.denoise_seconds,
    }


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
    with enabled(pipe, config.replace(full_steps=full)):
        pipe(**{**call, "num_inference_steps": steps, "generator": generator})
    done.add(shape)


def _timed(
    pipe: Any, call: Call, seed: int, on_pass: OnPass | None = None, trace: bool = False
) -> Generation:
    import torch

    generator = torch.Generator("cpu").manual_seed(seed)
    traced: list[Any] = []
    with ExitStack() as stack:
        if trace:
            keep = after(pipe.scheduler, "step", lambda result: traced.append(_half(result)))
            stack.enter_context(keep)
        if on_pass is not None:
            counted = _counter(on_pass, call["num_inference_steps"])
            counted()
            stack.enter_context(before(pipe.scheduler, "step", counted))
        clock = stack.enter_context(LoopClock(pipe))
        output = pipe(**call, generator=generator)
    return Generation(
        _frames(output),
        clock.total,
        clock.denoising,
        latents=np.stack([latent.cpu().numpy() for latent in traced]) if traced else None,
        device=environment.device_name(torch_device(pipe)),
        taken=datetime.now(timezone.utc).isoformat(timespec="seconds"),
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
