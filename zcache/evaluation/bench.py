"""Wall-clock of every method on one pipeline in one process, side by side.

Protocol: each method is put on, warmed up, run, taken off, and the plain pipeline must then give
bit for bit what it gave before. Repeats are interleaved (every method once, then every method
again), and the medians are compared as ratios to the uncached run of the same process; all times are
kept. FLOPs are counted around a run of their own, since counting slows a run down."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ..measure import environment, metrics
from ..measure.clock import LoopClock
from ..measure.flop_meter import FlopMeter
from .method import Method

UNCACHED = "uncached"


@dataclass
class Record:
    """What is known of one method so far."""

    method: Method
    seconds: list[float] = field(default_factory=list)
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
    """
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
) -> tuple[np.ndarray, float, Any]:
    """The output, seconds of the denoising loop, and the report if the method has one; `around` is
    entered for the run alone, not while the method is put on."""
    arguments = {**call, **method.call}
    seed = arguments.pop("generator_seed", 0)
    generator = torch.Generator("cpu").manual_seed(seed)
    with method.apply(pipe) as handle, around or nullcontext(), LoopClock(pipe) as clock:
        output = pipe(**arguments, generator=generator, return_dict=False)[0]
    report = handle.report().to_dict() if hasattr(handle, "report") else {}
    return _array(output), clock.denoising, report


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
    _, seconds, report = _once(pipe, call, record.method)
    record.seconds.append(seconds)
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
    speedup = statistics.median(plain.seconds) / seconds
    flops_speedup = plain.flops / record.flops if record.flops else None
    row |= {
        "seconds": seconds,
        "all_seconds": record.seconds,
        "speedup": speedup,
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
            f"{row['speedup']:.2f}",
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
