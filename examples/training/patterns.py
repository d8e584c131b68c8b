"""Grounds that a caption leaves open: gradients at any angle, stripes and dots at any place.

Every function returns a field (side, side). What is free here is chosen from the first, noisiest steps
of a sampler, all over the picture: a step that is a little off moves every edge. The patterns repeat every
32 pixels, two tokens of the embedded models: with any angle and width none was learnt in 2,000 steps.
"""

import math
import random

import numpy as np

PERIOD = 32  # pixels along the rows and the columns
EDGE = 1.5  # pixels over which a stripe or a dot begins


def gradient(side: int, rng: random.Random) -> np.ndarray:
    """From 0 to 1 along a line at any angle, or out of a point near the middle."""
    x, y = _places(side)
    if rng.random() < 0.3:
        share = np.hypot(x - rng.uniform(-0.25, 0.25) * side, y - rng.uniform(-0.25, 0.25) * side)
    else:
        angle = rng.uniform(0, 2 * math.pi)
        share = math.cos(angle) * x + math.sin(angle) * y
    return (share - share.min()) / np.ptp(share)


def stripes(side: int, rng: random.Random) -> np.ndarray:
    """-1 between the stripes and 1 on them; level, upright or slanted either way."""
    x, y = _places(side)
    along, down = rng.choice(((1, 0), (0, 1), (1, 1), (1, -1)))
    wave = np.sin(2 * math.pi * ((along * x + down * y) / PERIOD + rng.random()))
    return (wave * PERIOD / math.hypot(along, down) / (math.pi * EDGE)).clip(-1, 1)


def dots(side: int, rng: random.Random) -> np.ndarray:
    """0 between the dots and 1 on them; they stand in rows, each between two of the next row."""
    x, y = (line / PERIOD + rng.random() for line in _places(side))
    inside = []  # pixels to the rim
    for shift in (0, 0.5):
        across, down = (x + shift) % 1 - 0.5, (y + shift) % 1 - 0.5
        inside.append(0.22 * PERIOD - PERIOD * np.hypot(across, down))
    return (0.5 + np.maximum(*inside) / EDGE).clip(0, 1)


def _places(side: int) -> tuple[np.ndarray, np.ndarray]:
    line = np.arange(side) + 0.5 - side / 2
    x, y = np.meshgrid(line, line)
    return x, y
