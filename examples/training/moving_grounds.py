"""The grounds of mini-hunyuan's clips, which no caption names: greys with a gradient, plain, striped or dotted,
still or drifting as under a moving camera."""

import random

import numpy as np
import patterns
from PIL import Image

from zcache.models.mini import motion

LIGHTNESS = (70, 245)  # of 255, at either end of a gradient
TINT = 12  # of 255 that a channel may stand off the grey; a shape stands off by 62 at least
CONTRAST = (45, 90)  # of 255 between a stripe or a dot and its ground
DRIFT = 12  # pixels in the whole clip, along each side


def draw(rng: random.Random) -> list[Image.Image]:
    """Paints one ground, frame by frame."""
    canvas = Image.fromarray(_canvas(motion.FRAME_SIZE + 2 * DRIFT, rng))
    still = rng.random() < 0.4
    end = [0.0, 0.0] if still else [rng.uniform(-DRIFT, DRIFT) for _ in range(2)]
    frames = []
    for number in range(motion.FRAMES):
        x, y = (DRIFT + way * number / (motion.FRAMES - 1) for way in end)
        box = (x, y, x + motion.FRAME_SIZE, y + motion.FRAME_SIZE)
        size = (motion.FRAME_SIZE, motion.FRAME_SIZE)
        frames.append(canvas.resize(size, Image.Resampling.BILINEAR, box=box))
    return frames


def clip(actors: tuple[motion.Actor, ...], rng: random.Random) -> np.ndarray:
    """Paints a clip on a ground of its own: bytes (T, H, W, 3)."""
    return np.stack([np.asarray(frame) for frame in motion.draw(actors, rng, draw(rng))])


def _canvas(side: int, rng: random.Random) -> np.ndarray:
    light, dark = (
        rng.uniform(*LIGHTNESS) + np.array([rng.uniform(-TINT, TINT) for _ in range(3)])
        for _ in range(2)
    )
    ground = light + patterns.gradient(side, rng)[..., None] * (dark - light)
    # Towards the middle of the greys, so that nothing is cut off at black or white.
    step = rng.uniform(*CONTRAST) * (1 if ground.mean() < 150 else -1)
    texture = rng.choice(("plain", "striped", "striped", "dotted"))
    if texture == "striped":
        ground += step / 2 * (1 + patterns.stripes(side, rng))[..., None]
    if texture == "dotted":
        ground += step * patterns.dots(side, rng)[..., None]
    return ground.clip(0, 255).astype(np.uint8)
