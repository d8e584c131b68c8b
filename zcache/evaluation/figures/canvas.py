"""Figures without a window, and the looks they share. matplotlib is an optional extra, imported on use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..extras import needed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLAIN, BASE, OURS = "#222222", "#d1603d", "#2c6fbb"
COLOURS = ("#8a8f98", "#5b9a54", "#a05195", "#c9a227", "#17818a", "#7b5236", "#d45087")


def blank(
    width: float, height: float, rows: int = 1, columns: int = 1, **more: Any
) -> tuple[Figure, np.ndarray]:
    """Return a figure of `width` by `height` inches and its axes (rows, columns).

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise needed("bench", "matplotlib") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **more)


def gallery(
    rows: Sequence[tuple[str, Sequence[np.ndarray]]],
    titles: Sequence[str],
    captions: Sequence[Sequence[str]] | None = None,
    side: float = 1.35,
) -> Figure:
    """Return a figure of pictures (H, W, 3) uint8 in rows with a name each, under a title for each column.

    Args:
        captions: a line below each picture, row by row.
        side: width of a picture in inches.
    """
    height, width = rows[0][1][0].shape[:2]
    below = 0.2 if captions else 0.05
    figure, axes = blank(
        side * len(titles) + 0.5,
        (side * height / width + below) * len(rows) + 0.25,
        len(rows),
        len(titles),
    )
    for row, (name, pictures) in enumerate(rows):
        for column, picture in enumerate(pictures):
            place = axes[row, column]
            place.imshow(picture, interpolation="nearest")
            place.set(xticks=[], yticks=[])
            for spine in place.spines.values():
                spine.set_visible(False)
            if row == 0:
                place.set_title(titles[column], fontsize=8)
            if captions:
                place.set_xlabel(captions[row][column], fontsize=7, labelpad=2)
        axes[row, 0].set_ylabel(name, fontsize=8)
    return figure
