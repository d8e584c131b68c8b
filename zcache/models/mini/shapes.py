"""Coloured shapes, which the clips of `motion` are made of."""

import math

COLOURS = {
    "red": (228, 55, 52),
    "orange": (246, 132, 32),
    "yellow": (252, 208, 52),
    "green": (52, 168, 83),
    "blue": (38, 112, 233),
    "purple": (150, 68, 190),
}
GROUND = (250, 246, 238)  # what shapes lie on


def outline(kind: str, x: float, y: float, radius: float) -> list[tuple[float, float]]:
    """Give the corners of a circle, a square or a triangle; `radius` is that of the circle of about the
    same breadth."""
    if kind == "circle":
        return _regular(x, y, radius, 72)
    if kind == "square":
        half = 0.92 * radius
        return [
            (x - half, y - half),
            (x + half, y - half),
            (x + half, y + half),
            (x - half, y + half),
        ]
    return _regular(x, y + 0.25 * radius, 1.25 * radius, 3)


def _regular(x: float, y: float, radius: float, corners: int) -> list[tuple[float, float]]:
    """Set corners at equal angles around a centre, the first straight up."""
    turn = 2 * math.pi / corners
    return [
        (x + radius * math.sin(turn * index), y - radius * math.cos(turn * index))
        for index in range(corners)
    ]
