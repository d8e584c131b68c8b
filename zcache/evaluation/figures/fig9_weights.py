"""Figure 9: how every weight function does over the interval, as a share of the linear one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...method import weights
from ...method.config import ZCacheConfig
from ..drawing import likeness
from . import canvas
from .runs import frames

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REFERENCE = "linear"
Scores = Mapping[str, np.ndarray]  # of each weight: (intervals, 2), mean PSNR and mean SSIM


def fig9(
    pipe: Any,
    calls: Sequence[dict[str, Any]],
    config: ZCacheConfig,
    seed: int = 0,
    intervals: Sequence[int] = tuple(range(3, 10)),
    names: Sequence[str] | None = None,
) -> Figure:
    """Draw PSNR and SSIM to the uncached outputs, mean over `calls` (call i from seed + i),
    divided by those of the linear weight.

    Args:
        names: weights to compare; None takes all that are registered.

    Raises:
        ConfigError: an unknown weight; else as `zcache.enable` does.
    """
    chosen = dict.fromkeys([REFERENCE, *(names or weights.names())])
    plain = [frames(pipe, call, seed=seed + i) for i, call in enumerate(calls)]

    def score(weight: str, interval: int) -> list[float]:
        setting = config.replace(weight=weight, interval=interval)
        found = [
            likeness(plain[i], frames(pipe, call, setting, seed + i))
            for i, call in enumerate(calls)
        ]
        return [float(np.mean([each[name] for each in found])) for name in ("psnr", "ssim")]

    return draw({w: np.array([score(w, n) for n in intervals]) for w in chosen}, intervals)


def draw(scores: Scores, intervals: Sequence[int]) -> Figure:
    """Draw the mean scores, divided by the linear weight's."""
    figure, axes = canvas.blank(10, 3.6, 1, 2)
    colours = iter(canvas.COLOURS)
    for name, values in scores.items():
        colour = canvas.OURS if name == "logarithmic" else next(colours, canvas.PLAIN)
        for column, place in enumerate(axes[0]):
            ratios = values[:, column] / scores[REFERENCE][:, column]
            place.plot(
                intervals,
                ratios,
                label=name,
                color=colour,
                marker="o",
                markersize=3,
                linewidth=2.2 if name == "logarithmic" else 1.2,
            )
    for place, name in zip(axes[0], ("PSNR", "SSIM"), strict=True):
        place.set(xlabel="interval N", ylabel=f"{name} / {name} of the linear weight")
        place.set_xticks(list(intervals))
        place.ticklabel_format(axis="y", useOffset=False)
        place.grid(alpha=0.3)
    axes[0, 1].legend(fontsize=8)
    return figure
