"""Scenes of coloured shapes: a grammar, a caption for each sentence of it, and a drawing.

A scene is one or two groups of equal shapes on a background. `sample` draws a scene at random,
`caption` says it in words, `draw` paints it, and `split` decides by a hash of the caption whether
a model may see it in training.
"""

import hashlib
import math
import random
from dataclasses import dataclass
from functools import cache

from PIL import Image, ImageDraw

IMAGE_SIZE = 128
SUPERSAMPLING = 4

COLOURS = {
    "red": (228, 55, 52),
    "orange": (246, 132, 32),
    "yellow": (252, 208, 52),
    "green": (52, 168, 83),
    "blue": (38, 112, 233),
    "purple": (150, 68, 190),
}
KINDS = ("circle", "square", "triangle", "star")
COUNTS = ("one", "two", "three")
RELATIONS = ("left of", "above")  # the first group named stands first in reading order
TEXTURES = ("plain", "striped", "dotted")
# Background tone: its ground, and the pattern drawn upon it.
TONES = {
    "light": ((250, 246, 238), (228, 222, 210)),
    "grey": ((150, 155, 165), (128, 133, 144)),
    "dark": ((34, 38, 54), (56, 61, 80)),
}
RADII = {"small": 9.0, None: 12.5, "large": 16.5}
PITCHES = {"small": 28.0, None: 35.0, "large": 41.5}


@dataclass(frozen=True)
class Group:
    """`count` equal shapes; `size` None says nothing about the size."""

    count: int
    size: str | None
    colour: str
    kind: str


@dataclass(frozen=True)
class Scene:
    """One group, or two with the place of the first relative to the second, on a background."""

    groups: tuple[Group, ...]
    relation: str | None
    tone: str
    texture: str


def sample(rng: random.Random) -> Scene:
    """Draw a scene at random: three in four have two groups, always of different colours."""
    colours = rng.sample(tuple(COLOURS), 2)
    groups = tuple(
        Group(rng.choice((1, 2, 3)), rng.choice((None, "large")), colour, kind)
        for colour, kind in zip(colours, rng.choices(KINDS, k=2), strict=True)
    )
    tone, texture = rng.choice(tuple(TONES)), rng.choice(TEXTURES)
    if rng.random() < 0.25:
        return Scene(groups[:1], None, tone, texture)
    return Scene(groups, rng.choice(RELATIONS), tone, texture)


def caption(scene: Scene) -> str:
    """Say a scene in words, lower case, at most 15 of them."""
    texture = "" if scene.texture == "plain" else f"{scene.texture} "
    background = f"on a {scene.tone} {texture}background"
    first, *second = (_phrase(group) for group in scene.groups)
    if not second:
        return f"{first} {background}"
    return f"{first} {scene.relation} {second[0]} {background}"


def split(text: str) -> str:
    """Put a caption in "train" or, one in twenty, in "held-out"; the same on every machine."""
    digest = hashlib.sha256(text.encode()).digest()
    return "held-out" if digest[0] * 256 + digest[1] < 65536 // 20 else "train"


def samples(count: int, part: str, seed: int) -> list[Scene]:
    """Draw scenes whose captions belong to one part of the split."""
    rng = random.Random(seed)
    scenes: list[Scene] = []
    while len(scenes) < count:
        scene = sample(rng)
        if split(caption(scene)) == part:
            scenes.append(scene)
    return scenes


def draw(scene: Scene, rng: random.Random) -> Image.Image:
    """Paint a scene; `rng` moves and resizes each shape by a pixel or two."""
    scale = SUPERSAMPLING
    image = _background(scene.tone, scene.texture).copy()
    canvas = ImageDraw.Draw(image)
    for group, centre, step in zip(scene.groups, *_layout(scene), strict=True):
        drift = (rng.uniform(-2, 2), rng.uniform(-2, 2))
        radius = RADII[group.size] + rng.uniform(-0.5, 0.5)
        for index in range(group.count):
            along = (index - (group.count - 1) / 2) * PITCHES[group.size]
            x, y = (
                centre[axis] + drift[axis] + step[axis] * along + rng.uniform(-1, 1)
                for axis in (0, 1)
            )
            corners = [(px * scale, py * scale) for px, py in outline(group.kind, x, y, radius)]
            canvas.polygon(corners, fill=COLOURS[group.colour])
    return image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BOX)


def _phrase(group: Group) -> str:
    words = [word for word in (group.size, group.colour, group.kind) if word]
    if group.count > 1:
        return " ".join([COUNTS[group.count - 1], *words]) + "s"
    return " ".join(["an" if words[0][0] in "aeiou" else "a", *words])


def _layout(scene: Scene) -> tuple[list[tuple[float, float]], list[tuple[int, int]]]:
    """Give each group its centre and the direction in which its shapes are lined up."""
    row, column = (1, 0), (0, 1)
    near, middle, far = 34.0, IMAGE_SIZE / 2, 94.0
    return {
        None: ([(middle, middle)], [row]),
        "left of": ([(near, middle), (far, middle)], [column, column]),
        "above": ([(middle, near), (middle, far)], [row, row]),
    }[scene.relation]


def outline(kind: str, x: float, y: float, radius: float) -> list[tuple[float, float]]:
    """Give the corners of a shape; `radius` is that of the circle of about the same breadth."""
    if kind == "circle":
        return _regular(x, y, [radius] * 72)
    if kind == "square":
        half = 0.92 * radius
        return [
            (x - half, y - half),
            (x + half, y - half),
            (x + half, y + half),
            (x - half, y + half),
        ]
    if kind == "triangle":
        return _regular(x, y + 0.25 * radius, [1.25 * radius] * 3)
    return _regular(x, y + 0.08 * radius, [1.18 * radius, 0.52 * radius] * 5)


def _regular(x: float, y: float, radii: list[float]) -> list[tuple[float, float]]:
    """Set corners at equal angles around a centre, the first straight up."""
    turn = 2 * math.pi / len(radii)
    return [
        (x + radius * math.sin(turn * index), y - radius * math.cos(turn * index))
        for index, radius in enumerate(radii)
    ]


@cache
def _background(tone: str, texture: str) -> Image.Image:
    ground, pattern = TONES[tone]
    side = IMAGE_SIZE * SUPERSAMPLING
    image = Image.new("RGB", (side, side), ground)
    canvas = ImageDraw.Draw(image)
    pitch = 16 * SUPERSAMPLING
    if texture == "striped":
        for left in range(-side, side, pitch):
            canvas.polygon(
                [
                    (left, 0),
                    (left + pitch // 2, 0),
                    (left + pitch // 2 + side, side),
                    (left + side, side),
                ],
                fill=pattern,
            )
    if texture == "dotted":
        reach = pitch * 0.22
        for x in range(pitch // 2, side, pitch):
            for y in range(pitch // 2, side, pitch):
                canvas.ellipse((x - reach, y - reach, x + reach, y + reach), fill=pattern)
    return image
