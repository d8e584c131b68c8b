"""The emoji world: groups of emoji with many members, and pictures of one on a background.

A picture is one large emoji near the middle of a gradient of two colours, one in two with stripes or
dots at any angle, width and place. Which member of the group is shown, the colours and the pattern are free:
a model that knows only the group has to choose them.
"""

import random

import numpy as np
import patterns
from emoji_pictures import Emoji
from PIL import Image

from zcache.models.mini.classes import LABELS

IMAGE_SIZE = 128
SIDES = (98, 108)  # pixels of an emoji's longer side
DRIFT = 3  # pixels that it may stand off the middle, along each side

FACES = ("face-",)
PEOPLE = ("person", "person-gesture", "person-role", "person-fantasy")
ANIMALS = ("animal-", "cat-face", "monkey-face")
GROUPS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    # class: (subgroups, or beginnings that end in "-"; words in the names of those left out)
    "face": (FACES, ("skull", "pile", "clouds", "robot", "alien", "ghost", "ogre", "goblin")),
    "person": (
        PEOPLE,
        ("fairy", "mer", "bowing", "deaf", "pregnant", "feeding", "baby", "genie", "zombie"),
    ),
    "animal": (ANIMALS, ("paw", "wing", "feather", "web", "microbe", "coral", "shell", "nose")),
    "plant": (("plant-", "food-vegetable"), ("leaf fluttering", "white flower", "nest")),
    "food": (("food-fruit", "food-prepared", "food-sweet", "food-asian", "drink"), ("takeout",)),
    "vehicle": (
        ("transport-ground", "transport-water", "transport-air"),
        (
            "chair",
            "track",
            "motorway",
            "drum",
            "pump",
            "wheel",
            "light",
            "stop",
            "anchor",
            "construction",
            "buoy",
            "seat",
            "parachute",
            "skate",
            "satellite",
            "motorized",
        ),
    ),
    "building": (
        ("place-building", "place-religious", "place-other", "place-geographic"),
        (
            "brick",
            "rock",
            "wood",
            "fountain",
            "foggy",
            "night",
            "sunrise",
            "cityscape",
            "sunset",
            "bridge",
            "hot springs",
            "barber",
            "slide",
            "carousel",
            "construction",
            "horse",
        ),
    ),
    "clothing": (("clothing",), ("comb", "pick", "bead", "gem", "fan", "prayer")),
}
CLASSES = tuple(GROUPS)
assert CLASSES == LABELS
ALIKE = ("face", "person")  # members of one build: as many as there are
MOST = 60  # members of any other class: every second or third of a larger one

COLOURS = {
    "cream": (250, 236, 205),
    "peach": (252, 200, 170),
    "pink": (246, 178, 200),
    "lilac": (196, 178, 240),
    "sky": (150, 200, 246),
    "teal": (110, 196, 196),
    "mint": (176, 230, 190),
    "navy": (52, 66, 120),
    "plum": (98, 52, 98),
    "slate": (92, 104, 120),
}
PATTERNS = ("plain", "stripes", "stripes", "dots")
CONTRAST = (50, 100)  # of 255 between a stripe or a dot and its ground


def members(emoji: list[Emoji]) -> dict[str, list[Emoji]]:
    """Sorts emoji into the classes; only people come in every skin tone."""
    found: dict[str, list[Emoji]] = {name: [] for name in CLASSES}
    for one in emoji:
        for name, (subgroups, unwanted) in GROUPS.items():
            if not _within(one.subgroup, subgroups) or any(w in one.name for w in unwanted):
                continue
            if not one.toned or name == "person":
                found[name].append(one)
            break
    for name, group in found.items():
        if name not in ALIKE:
            found[name] = group[:: -(-len(group) // MOST)]
    return found


def background(rng: random.Random) -> Image.Image:
    """Paints a gradient between two colours, with stripes or dots or without."""
    first, second = (np.array(COLOURS[c], float) for c in rng.sample(tuple(COLOURS), 2))
    second = first + 0.7 * (second - first)
    ground = first + patterns.gradient(IMAGE_SIZE, rng)[..., None] * (second - first)
    pattern, step = rng.choice(PATTERNS), rng.choice((-1, 1)) * rng.uniform(*CONTRAST)
    if pattern == "stripes":
        ground += step / 2 * patterns.stripes(IMAGE_SIZE, rng)[..., None]
    if pattern == "dots":
        ground += step * patterns.dots(IMAGE_SIZE, rng)[..., None]
    return Image.fromarray(ground.clip(0, 255).astype(np.uint8))


def draw(emoji: Emoji, rng: random.Random) -> Image.Image:
    """Paints one emoji, large and near the middle, on a background."""
    picture = background(rng)
    rendering = emoji.picture
    scale = rng.uniform(*SIDES) / max(rendering.size)
    size = [round(length * scale) for length in rendering.size]
    rendering = rendering.resize(size, Image.Resampling.LANCZOS)
    place = [(IMAGE_SIZE - length) // 2 + rng.randint(-DRIFT, DRIFT) for length in size]
    picture.paste(rendering, tuple(place), rendering)
    return picture


def crowd(emoji: list[Emoji], count: int, rng: random.Random) -> Image.Image:
    """Strews emoji of all sizes over a background, for the autoencoder."""
    picture = background(rng)
    for one in rng.sample(emoji, count):
        side = rng.randint(36, 108)
        rendering = one.picture.copy()
        rendering.thumbnail((side, side), Image.Resampling.LANCZOS)
        place = [rng.randint(-side // 3, IMAGE_SIZE - side // 2) for _ in range(2)]
        picture.paste(rendering, tuple(place), rendering)
    return picture


def _within(subgroup: str, wanted: tuple[str, ...]) -> bool:
    return any(subgroup.startswith(w) if w.endswith("-") else subgroup == w for w in wanted)
