"""Figures 6, 7 and 8: the same seed over intervals, crops of the same patch, and frames of clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import ConfigError
from ...measure import metrics
from ...method.config import ZCacheConfig
from ..drawing import rounded
from . import canvas
from .runs import frames

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALONE, OURS = "TaylorSeer", "Z-Cache"
MARK = np.array([230, 30, 30], np.uint8)  # the colour of a crop's frame
Box = tuple[float, float, float, float]  # left, top, right, bottom, in parts of the sides


def fig6(
    pipe: Any,
    call: dict[str, Any],
    config: ZCacheConfig,
    seed: int = 0,
    intervals: Sequence[int] = tuple(range(1, 10)),
) -> Figure:
    """One seed at growing intervals, TaylorSeer above Z-Cache, with PSNR to the first (N = 1).

    Raises:
        ConfigError, UnsupportedPipelineError: as `zcache.enable` does.
    """
    rows = _both(pipe, call, config, seed, intervals)
    plain = frames(pipe, call, seed=seed)[0]
    captions = [[_decibels(plain, picture) for picture in pictures] for _, pictures in rows]
    shown = [(name, [rounded(picture) for picture in pictures]) for name, pictures in rows]
    return canvas.gallery(shown, [f"N = {n}" for n in intervals], captions)


def fig7(
    pipe: Any,
    call: dict[str, Any],
    config: ZCacheConfig,
    seed: int = 0,
    intervals: Sequence[int] = (7, 8, 9),
    box: Box = (0.25, 0.25, 0.6, 0.6),
) -> Figure:
    """The same patch of the uncached picture, TaylorSeer's and Z-Cache's; the first column shows where
    it lies.

    Raises:
        ConfigError: `box` is no part of the picture; else as `zcache.enable` does.
    """
    plain = frames(pipe, call, seed=seed)[0]
    left, top, right, bottom = corners(box, plain.shape[:2])
    whole = framed(rounded(plain), (left, top, right, bottom))
    rows = [
        (
            name,
            [whole, *(rounded(picture[top:bottom, left:right]) for picture in [plain, *pictures])],
        )
        for name, pictures in _both(pipe, call, config, seed, intervals)
    ]
    return canvas.gallery(rows, ["whole", "uncached", *(f"N = {n}" for n in intervals)], side=1.7)


def fig8(
    pipe: Any,
    call: dict[str, Any],
    configs: Mapping[str, ZCacheConfig],
    seed: int = 0,
    shown: int = 6,
) -> Figure:
    """Frames of the same clip, a row for each method below the uncached.

    Raises:
        ConfigError: the pipeline makes pictures; else as `zcache.enable` does.
    """
    clips = {"uncached": frames(pipe, call, seed=seed)}
    if len(clips["uncached"]) < 2:
        raise ConfigError(
            "fig8 shows clips, and this pipeline makes one picture: take a video model"
        )
    clips |= {name: frames(pipe, call, config, seed) for name, config in configs.items()}
    numbers = np.linspace(0, len(clips["uncached"]) - 1, shown).round().astype(int)
    rows = [(name, list(rounded(clip[numbers]))) for name, clip in clips.items()]
    return canvas.gallery(rows, [f"frame {number}" for number in numbers])


def corners(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom in pixels of a picture of `size` (height, width).

    Raises:
        ConfigError: the box leaves the picture, or is smaller than a pixel.
    """
    height, width = size
    sides = (width, height, width, height)
    left, top, right, bottom = (round(part * side) for part, side in zip(box, sides, strict=True))
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise ConfigError(f"box is {box}; give left, top, right, bottom from 0 to 1, ascending")
    return left, top, right, bottom


def framed(picture: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """A copy of a picture (H, W, 3) with a frame of one pixel drawn just inside the box."""
    left, top, right, bottom = box
    marked = picture.copy()
    marked[top:bottom, [left, right - 1]] = MARK
    marked[[top, bottom - 1], left:right] = MARK
    return marked


def _both(
    pipe: Any, call: dict[str, Any], config: ZCacheConfig, seed: int, intervals: Sequence[int]
) -> list[tuple[str, list[np.ndarray]]]:
    """TaylorSeer's and Z-Cache's first frames at every interval."""
    ways: dict[str, dict[str, Any]] = {
        ALONE: {"base": "taylorseer", "reflect": False},
        OURS: {"reflect": True},
    }
    return [
        (
            name,
            [frames(pipe, call, config.replace(interval=n, **changes), seed)[0] for n in intervals],
        )
        for name, changes in ways.items()
    ]


def _decibels(plain: np.ndarray, picture: np.ndarray) -> str:
    value = metrics.psnr(plain, picture, peak=1.0)
    return "identical" if value == float("inf") else f"{value:.1f} dB"
