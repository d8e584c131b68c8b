"""How near accelerated pictures come to the uncached ones, with the FLOPs each method took.

Every method draws the same prompts from the same seeds. PSNR is per picture, in floating point,
against the uncached picture; FLOPs are counted around the very runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from ..errors import UnsupportedPipelineError
from ..measure import metrics
from ..measure.flop_meter import FlopMeter
from ..measure.metrics import interval95
from .method import Method

Calls = Sequence[dict[str, Any]]  # pipeline arguments, one dictionary per batch


@dataclass(frozen=True)
class Outcome:
    """Pictures (P, H, W, 3) or clips (P, F, H, W, 3) in [0, 1], and the FLOPs of the denoiser that
    drew them."""

    pictures: np.ndarray
    flops: int
    full_passes: int | None


def draw(pipe: Any, calls: Calls, method: Method) -> Outcome:
    """Draw every batch with a method; its cache is off again afterwards."""
    pictures, flops, full_passes = [], 0, None
    with method.apply(pipe) as handle:
        for call in calls:
            seeds = call["seeds"]
            arguments = {key: value for key, value in call.items() if key != "seeds"}
            generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
            with FlopMeter(pipe) as meter:
                output = pipe(
                    **{**arguments, **method.call}, generator=generators, output_type="np"
                )
            pictures.append(output.frames if hasattr(output, "frames") else output.images)
            flops += meter.total
        if hasattr(handle, "report"):
            full_passes = handle.report().full_passes
    return Outcome(np.concatenate(pictures), flops, full_passes)


def score(plain: Outcome, outcome: Outcome) -> dict[str, Any]:
    """PSNR in dB of every picture (of a clip: mean over its frames), mean and 95 % interval, mean
    SSIM, FLOPs speedup."""
    pairs = list(zip(plain.pictures, outcome.pictures, strict=True))
    finite = [_over_frames(partial(metrics.bounded_psnr, peak=1.0), *pair) for pair in pairs]
    likeness = [_over_frames(partial(metrics.ssim, peak=1.0), *pair) for pair in pairs]
    return {
        "psnr": [round(value, 3) for value in finite],
        "psnr_mean": round(float(np.mean(finite)), 3),
        "psnr_interval": round(interval95(finite), 3),
        "ssim_mean": round(float(np.mean(likeness)), 5),
        "flops_speedup": round(plain.flops / outcome.flops, 3) if outcome.flops else None,
        "full_passes": outcome.full_passes,
    }


def _over_frames(
    measure: Callable[[np.ndarray, np.ndarray], float], a: np.ndarray, b: np.ndarray
) -> float:
    if a.ndim == 3:
        return measure(a, b)
    return float(np.mean([measure(*pair) for pair in zip(a, b, strict=True)]))


def measure(
    pipe: Any, calls: Calls, methods: Sequence[Method], done: dict[str, Any]
) -> Iterator[tuple[str, dict[str, Any] | UnsupportedPipelineError]]:
    """Yield (name, score) of each method not among `done`, or the error of one that does not know
    this pipeline; draws the uncached once."""
    todo = [method for method in methods if method.name not in done]
    if not todo:
        return
    plain = draw(pipe, calls, Method("uncached"))
    for method in todo:
        try:
            yield method.name, score(plain, draw(pipe, calls, method))
        except UnsupportedPipelineError as error:
            yield method.name, error
