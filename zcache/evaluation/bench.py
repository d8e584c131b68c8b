"""Wall-clock of every method on one pipeline in one process, side by side.

Protocol: each method is put on, warmed up, run, taken off, and the plain pipeline must then give
bit for bit what it gave before. Repeats are interleaved (every method once, then every method
again), and the medians are compared as ratios to the uncached run of the same process; all times are
kept. Where the full steps of a method say that the uncached runs went at another pace, its speedup is
estimated from them and marked. FLOPs are counted around a run of their own, since counting slows a run
down."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ..caching.handle import ZCache
from ..measure import environment, metrics
from ..measure.clock import LoopClock, before
from ..measure.flop_meter import FlopMeter
from ..measure.timing import DEAREST_FULL
from ..method import checks
from .method import Method

UNCACHED, STEP = "uncached", "step"
SLOWER_PLAIN = 1.2  # how much longer than a full step of a method an uncached step may take


@dataclass
class Record:
    """What is known of one method so far."""

    method: Method
    seconds: list[float] = field(default_factory=list)
    passes: list[tuple[tuple[str, float], ...]] = field(default_factory=list)
    output: np.ndarray | None = None
    flops: int = 0
    report: dict[str, Any] = field(default_factory=dict)
    peak_bytes: int | None = None
    restores: bool = True
    error: str | None = None


def bench(
    pipe: Any,
    call: dict[str, Any],
    methods: Sequence[Method],
    repeats: int = 5,
    told: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Time every method on `pipe(**call)`.

    Args:
        call: the pipeline's arguments, with `generator_seed` in place of a generator. With output
            type "latent" nothing is decoded and nothing is said of quality (right for random
            weights); with "np" PSNR and SSIM to the uncached pictures are given.
        told: called with a line of progress.

    Returns:
        A dictionary for JSON: `environment`, `call`, and a row per method in `methods`. A method
        that cannot run on this pipeline has an `error` there instead of figures.

    Raises:
        ConfigError: fewer than one repeat.
    """
    checks.whole("repeats", repeats, 1)
    records = [Record(Method(UNCACHED)), *(Record(method) for method in methods)]
    told("warming up")
    _once(pipe, call, records[0].method)  # a cold start is nobody's
    plain = _once(pipe, call, records[0].method)[0]
    for record in records:
        told(f"{record.method.name}: counting")
        _count(pipe, call, record, plain)
        told(f"{record.method.name}: {record.error or f'{record.flops / 1e12:.4g} TFLOPs'}")
    for repeat in range(repeats):
        for record in records:
            if record.error is None:
                told(f"repeat {repeat + 1} of {repeats}: {record.method.name}")
                _time(pipe, call, record)
    scored = call.get("output_type") != "latent"
    return {
        "environment": environment.describe(pipe),
        "call": {key: value for key, value in call.items() if isinstance(value, str | int | float)},
        "repeats": repeats,
        "methods": [_row(record, records[0], scored) for record in records],
    }


def _once(
    pipe: Any,
    call: dict[str, Any],
    method: Method,
    around: AbstractContextManager[Any] | None = None,
) -> tuple[np.ndarray, LoopClock, Any]:
    """The output, the clock of the denoising loop, and the report if the method has one; `around` is
    entered for the run alone, not while the method is put on."""
    arguments = {**call, **method.call}
    seed = arguments.pop("generator_seed", 0)
    generator = torch.Generator("cpu").manual_seed(seed)
    clock = LoopClock(pipe)
    with ExitStack() as stack:
        handle = stack.enter_context(method.apply(pipe))
        stack.enter_context(around or nullcontext())
        if isinstance(handle, ZCache):
            handle.on_pass = lambda step, kind, num_steps: clock.mark(kind)
        else:
            clock.mark(STEP)
            stack.enter_context(before(pipe.scheduler, "step", lambda: clock.mark(STEP)))
        stack.enter_context(clock)
        output = pipe(**arguments, generator=generator, return_dict=False)[0]
    report = handle.report().to_dict() if isinstance(handle, ZCache) else {}
    return _array(output), clock, report


def _array(output: Any) -> np.ndarray:
    """Pictures or frames (P, H, W, 3), or latents, as numbers."""
    array = output.float().cpu().numpy() if torch.is_tensor(output) else np.asarray(output)
    return array.reshape(-1, *array.shape[-3:]) if array.shape[-1] == 3 else array


def _count(pipe: Any, call: dict[str, Any], record: Record, plain: np.ndarray) -> None:
    try:
        meter = FlopMeter(pipe)
        record.output, _, record.report = _once(pipe, call, record.method, meter)
    except Exception as error:
        record.error = f"{type(error).__name__}: {error}".splitlines()[0]
    else:
        record.flops = meter.total
    record.restores = np.array_equal(plain, _once(pipe, call, Method(UNCACHED))[0])


def _time(pipe: Any, call: dict[str, Any], record: Record) -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    _, clock, report = _once(pipe, call, record.method)
    record.seconds.append(clock.denoising)
    record.passes.append(clock.passes)
    record.report = report
    if torch.cuda.is_available():
        record.peak_bytes = torch.cuda.max_memory_allocated()


def _row(record: Record, plain: Record, scored: bool) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": record.method.name,
        "family": record.method.family or record.method.name,
        "restores_bit_exactly": record.restores,
    }
    if record.error is not None:
        return {**row, "error": record.error}
    seconds = statistics.median(record.seconds)
    speedup, how = _speedup(record, plain)
    flops_speedup = plain.flops / record.flops if record.flops else None
    row |= {
        "seconds": seconds,
        "all_seconds": record.seconds,
        "speedup": speedup,
        "speedup_is": "estimated" if how else "measured",
        "speedup_how": how,
        "tflops": record.flops / 1e12,
        "flops_speedup": flops_speedup,
        "efficiency": speedup / flops_speedup if flops_speedup else None,
        "peak_bytes": record.peak_bytes,
    }
    report = record.report
    if report:
        row |= {
            "full_passes": report["full_passes"],
            "cache_bytes": report["cache_bytes"]
            if report["seconds"]
            else None,  # peers' unmeasured
            "fallbacks": report["fallbacks"],
            "milliseconds_per_pass": {
                kind: 1000 * report["seconds"][kind] / report[f"{kind}_passes"]
                for kind in ("full", "forecast", "reflect")
                if report[f"{kind}_passes"] and report["seconds"]
            },
        }
    if scored and plain.output is not None and record is not plain and record.output is not None:
        pairs = list(zip(plain.output, record.output, strict=True))
        row["psnr_mean"] = statistics.mean(metrics.bounded_psnr(a, b, peak=1.0) for a, b in pairs)
        row["ssim_mean"] = statistics.mean(metrics.ssim(a, b, peak=1.0) for a, b in pairs)
    return row


def _speedup(record: Record, plain: Record) -> tuple[float, str]:
    """The speedup by the medians; where the steps show that the two went at different paces, that of as many
    plain steps at the pace of the method, and how it was found."""
    seconds = statistics.median(record.seconds)
    steps = len(plain.passes[0]) - 1
    before, now = _full_step(plain, steps), _full_step(record, steps * record.flops / plain.flops)
    if 1 / DEAREST_FULL <= before / now <= SLOWER_PLAIN:
        return statistics.median(plain.seconds) / seconds, ""
    how = f"{steps} steps of {now:.3g} s, a full step of this method; an uncached one took {before:.3g} s"
    return steps * now / seconds, how


def _full_step(record: Record, number: float) -> float:
    """Seconds of a full step, the median over the repeats; without a report, the `number` longest steps
    are the full ones."""
    medians = []
    for passes in record.passes:
        full = [seconds for kind, seconds in passes if kind == "full"]
        # the last one marked is the scheduler's, after the last call of the denoiser
        full = full or sorted((s for _, s in passes[:-1]), reverse=True)[: max(1, round(number))]
        medians.append(statistics.median(full))
    return statistics.median(medians)


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    lines = [
        "| method | seconds | speedup | FLOPs speedup | efficiency "
        "| full / forecast / reflect ms | cache MB | PSNR dB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["methods"]:
        if "error" in row:
            lines.append(f"| {row['name']} | {row['error']} | | | | | | |")
            continue
        passes = row.get("milliseconds_per_pass", {})
        cells = [
            row["name"],
            f"{row['seconds']:.3f}",
            f"{'≈ ' if row['speedup_is'] == 'estimated' else ''}{row['speedup']:.2f}",
            _number(row["flops_speedup"], "{:.2f}"),
            _number(row["efficiency"], "{:.2f}"),
            " / ".join(f"{passes[k]:.2f}" for k in ("full", "forecast", "reflect") if k in passes),
            _number(row.get("cache_bytes"), "{:.1f}", 1e-6),
            _number(row.get("psnr_mean"), "{:.1f}"),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _number(value: float | None, form: str, scale: float = 1.0) -> str:
    return "" if value is None else form.format(value * scale)
