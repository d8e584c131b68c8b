"""Write the pictures and the report of a comparison to a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

    from .compare import Comparison

GAP = 8  # pixels of white between the two pictures


def picture(frames: np.ndarray) -> Image:
    """Return the first of (F, H, W, 3) uint8 frames as a picture."""
    from PIL import Image

    return Image.fromarray(frames[0])


def side_by_side(left: np.ndarray, right: np.ndarray) -> Image:
    """Return two (F, H, W, 3) uint8 pictures of one height beside each other."""
    gap = np.full((left.shape[1], GAP, 3), 255, np.uint8)
    return picture(np.concatenate([left[0], gap, right[0]], axis=1)[None])


def write_comparison(comparison: Comparison, folder: Path) -> dict[str, Path]:
    """Write baseline.png, accelerated.png, side_by_side.png and report.json; return their paths.

    The folder is made if it is not there; files of the same names are replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    left, right = comparison.baseline.frames, comparison.accelerated.frames
    pictures = {
        "baseline": picture(left),
        "accelerated": picture(right),
        "side_by_side": side_by_side(left, right),
    }
    paths = {name: folder / f"{name}.png" for name in pictures}
    for name, image in pictures.items():
        image.save(paths[name])
    return paths | {"report": write_json(comparison.report, folder / "report.json")}


def write_json(report: dict[str, Any], path: Path) -> Path:
    """Write a report as indented JSON and return its path."""
    path.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return path
