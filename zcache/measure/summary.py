"""The figures of two runs, plain and accelerated: times, likeness, errors, and where they are from."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import metrics
from .generation import Generation

SAME_PACE = 1.3  # how far the time of a full step may be off for a stored run to count as measured


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
