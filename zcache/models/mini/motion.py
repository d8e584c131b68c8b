"""Clips of moving shapes: a grammar, a caption for each sentence of it, and a drawing.

A clip shows one actor, or two side by side, the first named on the left. Each moves, grows or
shrinks evenly over the clip. `sample` draws a clip at random, `caption` says it in words, `draw`
paints its frames, and `split` decides by a hash of the caption whether a model may see it.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from .parts import split
from .shapes import COLOURS, GROUND, outline

FRAME_SIZE = 64
FRAMES = 17
SUPERSAMPLING = 4
KINDS = ("circle", "square", "triangle")
# Action: its words, and how far an actor goes along x and y, in parts of its travel.
ACTIONS = {
    "left": ("moves left", (-1, 0)),
    "right": ("moves right", (1, 0)),
    "up": ("moves up", (0, -1)),
    "down": ("moves down", (0, 1)),
    "grow": ("grows", (0, 0)),
    "shrink": ("shrinks", (0, 0)),
}
SMALL, LARGE = (4.5, 5.5), (10.0, 12.0)  # radii before and after growing, in pixels
STEADY = (6.5, 8.5)  # radius of what only moves
TRAVEL = {1: (24.0, 30.0), 2: (12.0, 14.0)}  # pixels, by the number of actors
REACH = 1.25  # of the radius: how far the corners of the largest outline go


@dataclass(frozen=True)
class Actor:
    """One shape and what it does."""

    colour: str
    kind: str
    action: str


@dataclass(frozen=True)
class Pose:
    """Where a shape is in one frame, in pixels."""

    x: float
    y: float
    radius: float


def sample(rng: random.Random) -> tuple[Actor, ...]:
    """Draw a clip at random: one actor, or in two of three clips two of different colours."""
    colours = rng.sample(tuple(COLOURS), 1 if rng.random() < 1 / 3 else 2)
    return tuple(Actor(c, rng.choice(KINDS), rng.choice(tuple(ACTIONS))) for c in colours)


def caption(actors: tuple[Actor, ...]) -> str:
    """Say a clip in words: "a red circle moves left while an orange square grows"."""
    return " while ".join(map(_phrase, actors))


def samples(count: int, part: str, seed: int) -> list[tuple[Actor, ...]]:
    """Draw clips whose captions belong to one part of the split."""
    rng = random.Random(seed)
    clips: list[tuple[Actor, ...]] = []
    while len(clips) < count:
        actors = sample(rng)
        if split(caption(actors)) == part:
            clips.append(actors)
    return clips


def draw(
    actors: tuple[Actor, ...], rng: random.Random, grounds: Sequence[Image.Image] | None = None
) -> list[Image.Image]:
    """Paint a clip; `rng` chooses where each actor starts, its size and its travel.

    Args:
        grounds: `FRAMES` pictures of `FRAME_SIZE` to paint on; a plain one without.
    """
    ends = [_ends(actors, index, rng) for index in range(len(actors))]
    plain = Image.new("RGB", (FRAME_SIZE, FRAME_SIZE), GROUND)
    return [
        _frame(actors, ends, number / (FRAMES - 1), ground)
        for number, ground in enumerate(grounds or [plain] * FRAMES)
    ]


def _phrase(actor: Actor) -> str:
    article = "an" if actor.colour[0] in "aeiou" else "a"
    return f"{article} {actor.colour} {actor.kind} {ACTIONS[actor.action][0]}"


def _ends(actors: tuple[Actor, ...], index: int, rng: random.Random) -> tuple[Pose, Pose]:
    """Draw the first and the last pose of an actor, both within its part of the frame."""
    action = actors[index].action
    small, large, steady = (rng.uniform(*span) for span in (SMALL, LARGE, STEADY))
    radii = {"grow": (small, large), "shrink": (large, small)}.get(action, (steady, steady))
    travel = rng.uniform(*TRAVEL[len(actors)])
    reach = REACH * max(radii)
    width = FRAME_SIZE / len(actors)
    middle = []
    for low, high, way in zip(
        (width * index, 0.0), (width * (index + 1), FRAME_SIZE), ACTIONS[action][1], strict=True
    ):
        margin = min(reach + abs(way) * travel / 2, (high - low) / 2)
        middle.append(rng.uniform(low + margin, high - margin))
    steps = [way * travel / 2 for way in ACTIONS[action][1]]
    first, last = (
        Pose(middle[0] + sign * steps[0], middle[1] + sign * steps[1], radius)
        for sign, radius in zip((-1, 1), radii, strict=True)
    )
    return first, last


def _frame(
    actors: tuple[Actor, ...],
    ends: list[tuple[Pose, Pose]],
    progress: float,
    ground: Image.Image,
) -> Image.Image:
    side = FRAME_SIZE * SUPERSAMPLING
    image = ground.resize((side, side), Image.Resampling.NEAREST)
    canvas = ImageDraw.Draw(image)
    for actor, (first, last) in zip(actors, ends, strict=True):
        x, y, radius = (
            SUPERSAMPLING * (getattr(first, name) * (1 - progress) + getattr(last, name) * progress)
            for name in ("x", "y", "radius")
        )
        canvas.polygon(outline(actor.kind, x, y, radius), fill=COLOURS[actor.colour])
    return image.resize((FRAME_SIZE, FRAME_SIZE), Image.Resampling.BOX)
