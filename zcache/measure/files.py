"""Write pictures, clips and reports; read them again."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from threading import get_ident
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .generation import Comparison

HEAT = (
    (12, 8, 38),
    (101, 21, 110),
    (212, 72, 66),
    (250, 193, 39),
    (252, 255, 164),
)  # dark to bright
CELL = 200  # pixels, the least width of a picture on a contact sheet
GAP = 8  # pixels of white between the two sides
# Every browser plays 8-bit 4:2:0 H.264; +faststart lets it begin before the file has come.
H264: dict[str, Any] = {
    "codec": "libx264",
    "pixelformat": "yuv420p",
    "quality": None,
    "macro_block_size": 2,
    "output_params": ["-crf", "14", "-movflags", "+faststart"],
    "ffmpeg_log_level": "error",
}


def suffix(fps: int | None) -> str:
    """Return the ending of the files that hold frames: a clip has frames per second."""
    return ".png" if fps is None else ".mp4"


def write(frames: np.ndarray, path: Path, fps: int | None = None) -> Path:
    """Write (F, H, W, 3) uint8 frames and return `path`: the first as PNG, or all as an H.264 clip.

    Height and width of a clip are even. `fps` is None for a picture.
    """
    if fps is None:
        from PIL import Image

        Image.fromarray(frames[0]).save(path)
    else:
        import imageio.v2 as imageio

        imageio.mimwrite(path, list(frames), format="FFMPEG", fps=fps, **H264)
    return path


def write_each(frames: np.ndarray, folder: Path) -> Path:
    """Write every frame as 0000.png, 0001.png, ... into `folder` and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames):
        write(frame[None], folder / f"{number:04d}.png")
    return folder


def side_by_side(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return two (F, H, W, 3) uint8 sides of one size beside each other, (F, H, 2W + 8, 3)."""
    gap = np.full((*left.shape[:2], GAP, 3), 255, np.uint8)
    return np.concatenate([left, gap, right], axis=2)


def heat_map(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, int]:
    """Return a picture (1, H, W, 3) of where two sides differ, and the difference it shows brightest,
    0 where they are identical.

    A pixel's difference is that of its most different channel, of 255, averaged over the frames.
    """
    difference = np.abs(left.astype(np.int16) - right).max(axis=-1).mean(axis=0)
    brightest = int(np.ceil(difference.max()))
    colours = np.array(HEAT, float)
    levels = np.linspace(0, max(1, brightest), len(colours))
    channels = [np.interp(difference, levels, colours[:, c]) for c in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)[None], brightest


def write_whole(path: Path, held: bytes) -> Path:
    """Write a file, whole or not at all, make its folder, and return `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}-{get_ident()}.partial")
    try:
        partial.write_bytes(held)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def still(path: Path) -> np.ndarray:
    """Return a picture, or the middle frame of a clip, as (H, W, 3) uint8."""
    if path.suffix == ".png":
        from PIL import Image

        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    import imageio.v2 as imageio

    frames = imageio.mimread(path, memtest=False)
    return np.asarray(frames[len(frames) // 2])


def contact_sheet(cells: Sequence[tuple[str, np.ndarray]], columns: int = 4) -> np.ndarray:
    """Return captioned pictures of one size in rows, (1, H, W, 3) uint8, enlarged if they are small."""
    from PIL import Image, ImageDraw, ImageFont

    height, width = cells[0][1].shape[:2]
    scale = max(1, -(-CELL // width))
    width, height = width * scale, height * scale
    size = max(11, width // 14)
    font = ImageFont.load_default(size)
    band = 3 * size + GAP  # two lines of caption
    rows = -(-len(cells) // columns)
    columns = min(columns, len(cells))
    sides = (columns * (width + GAP) + GAP, rows * (height + band + GAP) + GAP)
    sheet = Image.new("RGB", sides, "white")
    draw = ImageDraw.Draw(sheet)
    for number, (caption, frame) in enumerate(cells):
        left = GAP + number % columns * (width + GAP)
        top = GAP + number // columns * (height + band + GAP)
        sheet.paste(
            Image.fromarray(frame).resize((width, height), Image.Resampling.NEAREST), (left, top)
        )
        draw.multiline_text((left, top + height + GAP // 2), caption, "black", font)
    return np.asarray(sheet)[None]


def write_comparison(
    comparison: Comparison, folder: Path, fps: int | None = None
) -> dict[str, Path]:
    """Write baseline, accelerated, side_by_side and report.json; return their paths.

    The first three are PNG, or mp4 with `fps` frames per second. The folder is made if it is not
    there; files of the same names are replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    left, right = comparison.baseline.frames, comparison.accelerated.frames
    sides = {
        "baseline": left,
        "accelerated": right,
        "side_by_side": side_by_side(left, right),
    }
    paths = {
        name: write(frames, folder / f"{name}{suffix(fps)}", fps) for name, frames in sides.items()
    }
    return paths | {"report": write_json(comparison.report, folder / "report.json")}


def write_json(report: dict[str, Any], path: Path) -> Path:
    """Write a report as indented JSON, whole or not at all, and return its path."""
    return write_whole(path, f"{json.dumps(report, indent=2, allow_nan=False)}\n".encode())
