"""Classes of pictures: one shape of one kind and one colour, near the middle of a plain background.

`LABELS` lists the classes in the order of their ids, `draw` paints one, `recognised` judges a
picture by its pixels alone.
"""

import random

from PIL import Image, ImageDraw

from . import check
from .scenes import COLOURS, IMAGE_SIZE, SUPERSAMPLING, TONES, outline

KINDS = ("circle", "square", "triangle")
LABELS = tuple(f"{colour} {kind}" for kind in KINDS for colour in COLOURS)
RADII = (26.0, 36.0)
DRIFT = 8.0  # pixels that a shape may stand off the middle, along each side


def draw(label: str, rng: random.Random) -> Image.Image:
    """Paint a class; `rng` chooses the background, the size and the place."""
    colour, kind = label.split()
    scale = SUPERSAMPLING
    ground, _ = TONES[rng.choice(tuple(TONES))]
    image = Image.new("RGB", (IMAGE_SIZE * scale,) * 2, ground)
    radius = rng.uniform(*RADII)
    x, y = (IMAGE_SIZE / 2 + rng.uniform(-DRIFT, DRIFT) for _ in range(2))
    corners = [(px * scale, py * scale) for px, py in outline(kind, x, y, radius)]
    ImageDraw.Draw(image).polygon(corners, fill=COLOURS[colour])
    return image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BOX)


def recognised(image: Image.Image) -> str | None:
    """Name the class of a picture with one shape; None when it shows no shape, or several."""
    blobs = check.find(image)
    if len(blobs) != 1:
        return None
    return f"{blobs[0].colour} {blobs[0].kind}"
