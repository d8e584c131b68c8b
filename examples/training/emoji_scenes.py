"""Paints the scenes of `zcache.models.mini.scenes` with emoji.

A noun stands for several renderings, seen from either side, a tone for many gradients, and a texture for
stripes or dots at any angle, width and place: a model that knows the caption has to choose them all.
"""

import random

import numpy as np
import patterns
from emoji_pictures import Emoji
from PIL import Image, ImageOps

from zcache.models.mini.scenes import IMAGE_SIZE, Scene

NOUNS = {
    "cat": ("cat face", "cat", "black cat", "grinning cat", "weary cat", "cat with wry smile"),
    "dog": ("dog face", "dog", "poodle"),
    "rabbit": ("rabbit face", "rabbit"),
    "bear": ("bear", "polar bear"),
    "chick": ("baby chick", "front-facing baby chick", "hatching chick"),
    "fish": ("fish", "tropical fish", "blowfish"),
    "frog": ("frog",),
    "turtle": ("turtle",),
    "butterfly": ("butterfly",),
    "flower": ("sunflower", "hibiscus", "cherry blossom", "tulip", "rose"),
    "tree": ("evergreen tree", "deciduous tree", "palm tree"),
    "mushroom": ("mushroom",),
    "apple": ("red apple", "green apple"),
    "strawberry": ("strawberry",),
    "burger": ("hamburger",),
    "cake": ("birthday cake", "shortcake", "cupcake"),
    "house": ("house", "house with garden", "hut"),
    "car": ("automobile", "oncoming automobile", "taxi", "police car", "sport utility vehicle"),
    "boat": ("sailboat", "speedboat", "ship", "motor boat"),
    "rocket": ("rocket",),
    "ball": ("soccer ball", "basketball", "baseball", "volleyball", "softball"),
    "heart": (
        "red heart",
        "green heart",
        "blue heart",
        "purple heart",
        "orange heart",
        "pink heart",
    ),
    "hat": ("top hat", "woman's hat", "billed cap", "graduation cap"),
    "clock": tuple(
        f"{hour} o'clock" for hour in ("one", "two", "four", "five", "seven", "eight", "ten")
    ),
}
# Tone: the lightest and the darkest ends of its gradients.
TONES = {
    "light": ((252, 246, 232), (214, 214, 224)),
    "pink": ((252, 206, 214), (226, 150, 182)),
    "blue": ((170, 214, 250), (96, 150, 220)),
    "green": ((196, 236, 196), (112, 186, 140)),
    "dark": ((84, 88, 128), (34, 36, 62)),
}

STRAY = 14  # of 255 that a colour may stand off its tone's
CONTRAST = (50, 100)  # of 255 between a stripe or a dot and its ground
DRIFT = 7  # pixels that an emoji may stand off its place, along each side
STRETCH = (-14, 2)  # pixels that its longer side may differ from its usual one


def renderings(emoji: list[Emoji]) -> dict[str, list[Image.Image]]:
    """The pictures of every noun."""
    named = {one.name: one for one in emoji if not one.toned}
    return {noun: [named[name].picture for name in names] for noun, names in NOUNS.items()}


def draw(scene: Scene, pictures: dict[str, list[Image.Image]], rng: random.Random) -> Image.Image:
    """Paints a scene; `rng` chooses the renderings and the gradient and moves things a little."""
    canvas = _background(scene, rng)
    for noun, (x, y) in zip(scene.nouns, scene.places, strict=True):
        rendering = rng.choice(pictures[noun])
        if rng.random() < 0.5:
            rendering = ImageOps.mirror(rendering)
        scale = (scene.side + rng.uniform(*STRETCH)) / max(rendering.size)
        size = [round(length * scale) for length in rendering.size]
        rendering = rendering.resize(size, Image.Resampling.LANCZOS)
        corner = [
            at - n // 2 + rng.randint(-DRIFT, DRIFT) for at, n in zip((x, y), size, strict=True)
        ]
        canvas.paste(rendering, tuple(corner), rendering)
    return canvas


def _background(scene: Scene, rng: random.Random) -> Image.Image:
    """Two colours of the tone, and stripes or dots that are lighter on dark and darker on light."""
    light, dark = (
        np.array(end, float) + [rng.uniform(-STRAY, STRAY) for _ in end]
        for end in TONES[scene.tone]
    )
    ground = light + patterns.gradient(IMAGE_SIZE, rng)[..., None] * (dark - light)
    step = rng.uniform(*CONTRAST) * (1 if scene.tone == "dark" else -1)
    if scene.texture == "striped":
        ground += step / 2 * (1 + patterns.stripes(IMAGE_SIZE, rng))[..., None]
    if scene.texture == "dotted":
        ground += step * patterns.dots(IMAGE_SIZE, rng)[..., None]
    return Image.fromarray(ground.clip(0, 255).astype(np.uint8))
