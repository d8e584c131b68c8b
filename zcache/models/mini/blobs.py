"""Cuts a picture into saturated blobs, each named by hue, outline and breadth, by its pixels alone."""

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage
from scipy.spatial import ConvexHull

# Hue in degrees up to which a colour reaches, counted from -30.
HUES = ((13, "red"), (37, "orange"), (70, "yellow"), (175, "green"), (245, "blue"), (310, "purple"))
CHROMA = 62  # of 255; backgrounds stay below 25
SPECK = 14  # pixels; smaller blobs are no shapes


@dataclass(frozen=True)
class Blob:
    """One shape found in a picture; positions and radius in pixels of a picture 128 wide."""

    colour: str
    kind: str
    radius: float
    x: float
    y: float


def find(image: Image.Image) -> list[Blob]:
    """Find the saturated shapes of a picture."""
    pixels = np.asarray(image.convert("RGB"), dtype=float)
    mask = _saturated(pixels)
    labels, count = ndimage.label(mask)
    scale = 128 / pixels.shape[1]
    blobs = []
    for label in range(1, count + 1):
        inside = labels == label
        if inside.sum() * scale**2 < SPECK:
            continue
        y, x = np.nonzero(inside)
        kind, radius = _outline(inside[y.min() : y.max() + 1, x.min() : x.max() + 1])
        middle = (x.min() + x.max() + 1) / 2, (y.min() + y.max() + 1) / 2
        colour = _colour(pixels[inside])
        blobs.append(Blob(colour, kind, radius * scale, middle[0] * scale, middle[1] * scale))
    return blobs


def _saturated(pixels: np.ndarray) -> np.ndarray:
    return pixels.max(axis=2) - pixels.min(axis=2) > CHROMA


def _colour(pixels: np.ndarray) -> str:
    """Name the hue of the most saturated half of a shape's pixels."""
    chroma = pixels.max(axis=1) - pixels.min(axis=1)
    red, green, blue = np.median(pixels[chroma >= np.median(chroma)], axis=0)
    hue = np.degrees(np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue))
    hue = (hue + 30) % 360 - 30
    return next((name for limit, name in HUES if hue < limit), "red")


def _outline(inside: np.ndarray) -> tuple[str, float]:
    """Name a blob's kind and give its radius, from its area, hull and bounding box.

    The hull fills 1 of the box for a square, pi/4 for a circle, and 1/2 for a triangle; what
    does not fill its hull is ragged.
    """
    height, width = inside.shape
    area = ndimage.binary_fill_holes(inside).sum()
    y, x = np.nonzero(inside)
    corners = np.concatenate([np.stack([x + i, y + j], 1) for i in (0, 1) for j in (0, 1)])
    hull = ConvexHull(corners).volume
    if area < 0.76 * hull:
        return "ragged", width / 2
    fill = hull / (height * width)
    if fill > 0.92:
        return "square", (width + height) / 4 / 0.92
    if fill > 0.70:
        return "circle", (width + height) / 4
    return "triangle", width / 2 / 1.08
