"""The figures of two runs, plain and accelerated: times, likeness, errors, and where they are from."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..models.catalogue import Model
from ..models.request import Request
from . import flop_table, metrics
from .generation import Generation
from .timing import above_flops, timing


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


def origin(baseline: Generation) -> dict[str, Any]:
    """Return where the baseline is from, when and on which device it was made."""
    return {
        "baseline_from": "the store" if baseline.stored else "this run",
        "baseline_device": baseline.device,
        "baseline_taken": baseline.taken,
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
        **timing(accelerated, baseline),
        **likeness,
        "identical": identical,
        **ran,
    }


def with_flops(report: dict[str, Any], model: Model, request: Request) -> dict[str, Any]:
    """Return a report with the FLOPs of the passes that were made, None where nobody can count them, and
    in `speedup_how` why a speedup is above their ratio."""
    cost = flop_table.passes(model, request, report.get("granularity", ""))
    if cost is None:
        return report | {"flops": None, "flops_speedup": None}
    cached = report["forecast_passes"] + report["reflect_passes"]
    plain = cost.full * report["num_steps"]
    total = cost.full * report["full_passes"] + cost.cached * cached
    flops = {"full_step": cost.full, "cached_step": cost.cached, "total": total, "plain": plain}
    how = filter(None, (report["speedup_how"], above_flops(report, plain / total)))
    return report | {
        "flops": flops,
        "flops_speedup": plain / total,
        "speedup_how": "; ".join(how),
    }
