"""What a run leaves behind, and what two runs do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Generation:
    """One finished run: its frames and its times in seconds; `report` only where a cache ran.

    `frames` is (F, H, W, 3) uint8: one frame for each picture of the batch, or for each frame of
    a video. `latents` is (steps, ...) float16, what the sampling had after each step, where it was
    traced. `device` and `taken` say where and when; `stored` that it was not run now. `passes` has the
    kind (`plain`, `full`, `forecast`, `reflect`) and the seconds of each pass over the denoiser,
    `beside` the seconds of plain steps that were made between them, outside the run's times.
    """

    frames: np.ndarray
    seconds: float
    denoise_seconds: float
    report: dict[str, Any] | None = None
    latents: np.ndarray | None = None
    device: str = ""
    taken: str = ""
    stored: bool = False
    passes: tuple[tuple[str, float], ...] = ()
    beside: tuple[float, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """Both runs, and the report of them as plain values that JSON can hold; `alone` is the run of the
    base strategy without reflection, where one was made."""

    accelerated: Generation
    baseline: Generation
    report: dict[str, Any]
    alone: Generation | None = None
