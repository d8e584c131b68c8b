"""Judges whether a picture obeys a caption, by its pixels alone.

The caption is read here by a grammar of its own; the picture is cut into saturated blobs, each
named by hue, outline and breadth. Nothing is taken from the drawing code but the vocabulary's
dataclasses, so a fault there cannot hide here.
"""

import re
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage
from scipy.spatial import ConvexHull

from .scenes import Group, Scene

# Hue in degrees up to which a colour reaches, counted from -30.
HUES = ((13, "red"), (37, "orange"), (70, "yellow"), (175, "green"), (245, "blue"), (310, "purple"))
CHROMA = 62  # of 255; backgrounds stay below 25
SPECK = 14  # pixels; smaller blobs are no shapes
SMALL, LARGE = 10.7, 14.6  # radii, in pixels of a picture 128 wide
GAP = 16  # pixels between the middles of shapes that stand left of, or above, one another
DARK, LIGHT = 95, 200  # lightness, of 255, that parts the background tones
PATTERN = 2.0  # unevenness, of 255, above which a background is patterned
COHERENCE = 0.6  # above which a pattern is striped

_GROUP = (
    r"(?P<count{0}>an?|one|two|three) (?:(?P<size{0}>small|large) )?"
    r"(?P<colour{0}>red|orange|yellow|green|blue|purple) "
    r"(?P<kind{0}>circle|square|triangle|star)s?"
)
_SENTENCE = re.compile(
    _GROUP.format(1)
    + r"(?: (?P<relation>left of|right of|above|below) "
    + _GROUP.format(2)
    + r")? on an? (?P<tone>light|grey|dark)(?: (?P<texture>striped|dotted))? background\.?"
)


@dataclass(frozen=True)
class Blob:
    """One shape found in a picture; positions and radius in pixels of a picture 128 wide."""

    colour: str
    kind: str
    radius: float
    x: float
    y: float


@dataclass(frozen=True)
class Verdict:
    """Which clauses of the caption fail, in words; none when the picture obeys."""

    failures: tuple[str, ...]

    @property
    def obeyed(self) -> bool:
        return not self.failures

    def __bool__(self) -> bool:
        return self.obeyed


def read(caption: str) -> Scene:
    """Read a caption; case and a final stop do not matter.

    Raises:
        ValueError: The caption is not a sentence of the grammar.
    """
    match = _SENTENCE.fullmatch(" ".join(caption.lower().split()))
    if match is None:
        raise ValueError(
            f"cannot read {caption!r}; write for example 'two small red circles left of a blue "
            "square on a dark striped background'"
        )
    found = match.groupdict()
    number = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3}
    groups = tuple(
        Group(number[found[f"count{i}"]], *(found[f"{w}{i}"] for w in ("size", "colour", "kind")))
        for i in ("1", "2")
        if found[f"count{i}"]
    )
    return Scene(groups, found["relation"], found["tone"], found["texture"] or "plain")


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


def obeys(image: Image.Image, wanted: Scene | str) -> Verdict:
    """Check count, colour, kind, size, place and background; a scene is checked as it is."""
    scene = read(wanted) if isinstance(wanted, str) else wanted
    blobs = find(image)
    failures = []
    for group in scene.groups:
        members = [blob for blob in blobs if blob.colour == group.colour]
        if len(members) != group.count:
            failures.append(f"count: {len(members)} {group.colour} shapes, not {group.count}")
        strays = {blob.kind for blob in members} - {group.kind}
        if strays:
            failures.append(f"kind: {group.colour} {', '.join(sorted(strays))}, not {group.kind}")
        if any(not _sized(blob.radius, group.size) for blob in members):
            radii = ", ".join(f"{blob.radius:.1f}" for blob in members)
            failures.append(f"size: {group.colour} shapes of radius {radii}, not {group.size}")
    strays = {blob.colour for blob in blobs} - {group.colour for group in scene.groups}
    if strays:
        failures.append(f"colour: {', '.join(sorted(strays))} shapes not asked for")
    if scene.relation and not _placed(blobs, scene):
        failures.append(f"place: not all {scene.groups[0].colour} {scene.relation} the others")
    tone, texture = background(image)
    if tone != scene.tone:
        failures.append(f"background: {tone}, not {scene.tone}")
    if texture != scene.texture:
        failures.append(f"texture: {texture}, not {scene.texture}")
    return Verdict(tuple(failures))


def background(image: Image.Image) -> tuple[str, str]:
    """Name the tone and the texture of what lies between the shapes."""
    pixels = np.asarray(image.convert("RGB"), dtype=float)
    ground = ~ndimage.binary_dilation(_saturated(pixels, CHROMA / 2), iterations=4)
    lightness = pixels.mean(axis=2)
    middle = float(np.median(lightness[ground])) if ground.any() else 0.0
    tone = "dark" if middle < DARK else "light" if middle > LIGHT else "grey"
    # Structure tensor of the smoothed lightness: strength says patterned, coherence says striped.
    smooth = ndimage.gaussian_filter(lightness, 1.0)
    dy, dx = np.gradient(smooth)
    inner = ndimage.binary_erosion(ground, iterations=2)
    if not inner.any():
        return tone, "plain"
    xx, yy, xy = ((a * b)[inner].mean() for a, b in ((dx, dx), (dy, dy), (dx, dy)))
    if np.sqrt(xx + yy) < PATTERN / 2:
        return tone, "plain"
    coherence = np.hypot(xx - yy, 2 * xy) / (xx + yy)
    return tone, "striped" if coherence > COHERENCE else "dotted"


def _saturated(pixels: np.ndarray, threshold: float = CHROMA) -> np.ndarray:
    return pixels.max(axis=2) - pixels.min(axis=2) > threshold


def _colour(pixels: np.ndarray) -> str:
    """Name the hue of the most saturated half of a shape's pixels."""
    chroma = pixels.max(axis=1) - pixels.min(axis=1)
    red, green, blue = np.median(pixels[chroma >= np.median(chroma)], axis=0)
    hue = np.degrees(np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue))
    hue = (hue + 30) % 360 - 30
    return next((name for limit, name in HUES if hue < limit), "red")


def _outline(inside: np.ndarray) -> tuple[str, float]:
    """Name a blob's kind and give its radius, from its area, hull and bounding box.

    The hull fills 1 of the box for a square, pi/4 for a circle, and 1/2 for a triangle; a star
    fills about half of its hull, the others all of it.
    """
    height, width = inside.shape
    area = ndimage.binary_fill_holes(inside).sum()
    y, x = np.nonzero(inside)
    corners = np.concatenate([np.stack([x + i, y + j], 1) for i in (0, 1) for j in (0, 1)])
    hull = ConvexHull(corners).volume
    if area < 0.76 * hull:
        return "star", width / 2 / 1.12
    fill = hull / (height * width)
    if fill > 0.92:
        return "square", (width + height) / 4 / 0.92
    if fill > 0.70:
        return "circle", (width + height) / 4
    return "triangle", width / 2 / 1.08


def _sized(radius: float, size: str | None) -> bool:
    if size == "small":
        return radius < SMALL
    if size == "large":
        return radius > LARGE
    return True


def _placed(blobs: list[Blob], scene: Scene) -> bool:
    """Say whether every shape of the first colour lies on its side of every one of the second."""
    first, second = ([b for b in blobs if b.colour == group.colour] for group in scene.groups)
    axis = "x" if scene.relation in ("left of", "right of") else "y"
    if scene.relation in ("right of", "below"):
        first, second = second, first
    if not first or not second:
        return False
    gap = min(getattr(b, axis) for b in second) - max(getattr(b, axis) for b in first)
    return gap > GAP
