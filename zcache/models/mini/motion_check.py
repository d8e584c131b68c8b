"""Judges whether a clip obeys a caption, by the pixels of its frames alone.

The caption is read by a grammar of its own. Every frame is cut into blobs by `blobs.find`; the
blobs of one colour make a track, and a straight line through the track tells what the shape does.
Nothing is taken from the drawing code but the dataclass that the caption is read into.
"""

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np
from PIL import Image

from .blobs import Blob, find
from .motion import Actor
from .verdict import Verdict

ENLARGEMENT = 3  # of a frame, before its blobs are named
SHIFT = 0.09  # of the frame's width: less is no motion
GROWTH = 1.35  # last radius by first: less is no growth
MISSES = 2  # frames of a clip in which an actor may be lost
ROUGHNESS = 0.03  # of the frame's width: root mean square distance from the straight line
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple")
WORDS = {
    "moves left": "left",
    "moves right": "right",
    "moves up": "up",
    "moves down": "down",
    "grows": "grow",
    "shrinks": "shrink",
}
_CLAUSE = re.compile(
    rf"an? ({'|'.join(COLOURS)}) (circle|square|triangle) ({'|'.join(WORDS)})", re.ASCII
)


@dataclass(frozen=True)
class Track:
    """The blobs of one colour, at most one for each frame; lengths in parts of the frame's width."""

    kind: str
    frames: tuple[int, ...]
    shift: tuple[float, float]  # along x and y, over the whole clip
    growth: float  # last radius by first
    roughness: float


def read(caption: str) -> tuple[Actor, ...]:
    """Reads a caption; case and a final stop do not matter.

    Raises:
        ValueError: The caption is not a sentence of the grammar.
    """
    clauses = " ".join(caption.lower().split()).removesuffix(".").split(" while ")
    found = [m for clause in clauses if (m := _CLAUSE.fullmatch(clause))]
    if len(clauses) > 2 or len(found) < len(clauses):
        raise ValueError(
            f"cannot read {caption!r}; write for example 'a red circle moves left while a blue "
            "square grows'"
        )
    return tuple(Actor(m[1], m[2], WORDS[m[3]]) for m in found)


def tracks(frames: list[Image.Image]) -> dict[str, Track]:
    """Follows each colour that is seen in more than `MISSES` frames."""
    seen: dict[str, list[tuple[int, Blob]]] = {}
    for number, frame in enumerate(frames):
        blobs = find(_enlarged(frame))
        for colour in {blob.colour for blob in blobs}:
            same = [blob for blob in blobs if blob.colour == colour]
            if len(same) == 1:
                seen.setdefault(colour, []).append((number, same[0]))
    return {
        colour: _track(found, len(frames)) for colour, found in seen.items() if len(found) > MISSES
    }


def obeys(frames: list[Image.Image], wanted: tuple[Actor, ...] | str) -> Verdict:
    """Checks colours, kinds, actions, and that everything moves evenly."""
    actors = read(wanted) if isinstance(wanted, str) else wanted
    found = tracks(frames)
    failures = []
    for actor in actors:
        track = found.pop(actor.colour, None)
        if track is None or len(track.frames) < len(frames) - MISSES:
            failures.append(f"colour: no one {actor.colour} shape throughout")
            continue
        if track.kind != actor.kind:
            failures.append(f"kind: {actor.colour} {track.kind}, not {actor.kind}")
        action = named(track)
        if action != actor.action:
            failures.append(f"action: {actor.colour} shape does {action}, not {actor.action}")
        if track.roughness > ROUGHNESS:
            failures.append(f"smooth: {actor.colour} shape strays {track.roughness:.3f}")
    if found:
        failures.append(f"colour: {', '.join(sorted(found))} shapes not asked for")
    return Verdict(tuple(failures))


def named(track: Track) -> str | None:
    """Names what a shape does; None when it does nothing, or several things at once."""
    (x, y), growth = track.shift, track.growth
    resized = max(growth, 1 / growth) > GROWTH
    if resized and np.hypot(x, y) < SHIFT:
        return "grow" if growth > 1 else "shrink"
    if resized or max(abs(x), abs(y)) < SHIFT or min(abs(x), abs(y)) > max(abs(x), abs(y)) / 2:
        return None
    if abs(x) > abs(y):
        return "left" if x < 0 else "right"
    return "up" if y < 0 else "down"


def _enlarged(frame: Image.Image) -> Image.Image:
    return frame.convert("RGB").resize(
        (ENLARGEMENT * frame.width, ENLARGEMENT * frame.height), Image.Resampling.BICUBIC
    )


def _track(found: list[tuple[int, Blob]], length: int) -> Track:
    """Fits straight lines through the places and the radii of a shape's blobs."""
    numbers = np.array([number for number, _ in found], dtype=float)
    rows = np.array([(blob.x, blob.y, blob.radius) for _, blob in found]) / 128
    slopes, starts = np.polyfit(numbers, rows, 1)
    strays = rows[:, :2] - (starts + np.outer(numbers, slopes))[:, :2]
    first, last = starts[2], starts[2] + slopes[2] * (length - 1)
    # A small triangle and a small square blur into circles: the largest half has the vote.
    large = sorted((blob for _, blob in found), key=lambda blob: -blob.radius)
    votes = Counter(blob.kind for blob in large[: (len(large) + 1) // 2])
    return Track(
        kind=votes.most_common(1)[0][0],
        frames=tuple(number for number, _ in found),
        shift=(slopes[0] * (length - 1), slopes[1] * (length - 1)),
        growth=max(last, 1e-3) / max(first, 1e-3),
        roughness=float(np.sqrt((strays**2).sum(axis=1).mean())),
    )
