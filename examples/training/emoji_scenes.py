"""Paints the scenes of `zcache.models.mini.scenes` with emoji.

A noun stands for several renderings, and the tone for a gradient of its own: a model that knows the
caption has to choose them.
"""

import random

import numpy as np
from emoji_pictures import Emoji
from PIL import Image

from zcache.models.mini.scenes import IMAGE_SIZE, Scene

NOUNS = {
    "cat": ("cat face", "cat", "black cat", "grinning cat"),
    "dog": ("dog face", "dog", "poodle"),
    "rabbit": ("rabbit face", "rabbit"),
    "bear": ("bear", "polar bear"),
    "chick": ("baby chick", "front-facing baby chick", "hatching chick"),
    "fish": ("fish", "tropical fish", "blowfish"),
    "frog": ("frog",),
    "turtle": ("turtle",),
    "butterfly": ("butterfly",),
    "flower": ("sunflower", "hibiscus", "cherry blossom", "tulip"),
    "tree": ("evergreen tree", "deciduous tree", "palm tree"),
    "mushroom": ("mushroom",),
    "apple": ("red apple", "green apple"),
    "strawberry": ("strawberry",),
    "burger": ("hamburger",),
    "cake": ("birthday cake", "shortcake", "cupcake"),
    "house": ("house", "house with garden"),
    "car": ("automobile", "oncoming automobile", "taxi", "police car"),
    "boat": ("sailboat", "speedboat", "ship"),
    "rocket": ("rocket",),
    "ball": ("soccer ball", "basketball", "baseball", "volleyball"),
    "heart": ("red heart", "green heart", "blue heart", "purple heart"),
    "hat": ("top hat", "woman's hat", "billed cap"),
    "clock": ("one o'clock", "four o'clock", "seven o'clock", "ten o'clock"),
}
# Tone: the lightest and the darkest ends of its gradients.
TONES = {
    "light": ((252, 246, 232), (214, 214, 224)),
    "pink": ((252, 206, 214), (226, 150, 182)),
    "blue": ((170, 214, 250), (96, 150, 220)),
    "green": ((196, 236, 196), (112, 186, 140)),
    "dark": ((84, 88, 128), (34, 36, 62)),
}


def renderings(emoji: list[Emoji]) -> dict[str, list[Image.Image]]:
    """The pictures of every noun."""
    named = {one.name: one for one in emoji if not one.toned}
    return {noun: [named[name].picture for name in names] for noun, names in NOUNS.items()}


def draw(scene: Scene, pictures: dict[str, list[Image.Image]], rng: random.Random) -> Image.Image:
    """Paints a scene; `rng` chooses the renderings and the gradient and moves things a little."""
    canvas = _background(scene, rng)
    for noun, (x, y) in zip(scene.nouns, scene.places, strict=True):
        rendering = rng.choice(pictures[noun])
        scale = (scene.side + rng.uniform(-2, 2)) / max(rendering.size)
        size = [round(length * scale) for length in rendering.size]
        rendering = rendering.resize(size, Image.Resampling.LANCZOS)
        corner = [at - n // 2 + rng.randint(-2, 2) for at, n in zip((x, y), size, strict=True)]
        canvas.paste(rendering, tuple(corner), rendering)
    return canvas


def _background(scene: Scene, rng: random.Random) -> Image.Image:
    light, dark = (np.array(end, float) for end in TONES[scene.tone])
    line = (np.arange(IMAGE_SIZE) + 0.5) / IMAGE_SIZE
    x, y = np.meshgrid(line, line)
    share = rng.choice((y, 1 - y, (x + y) / 2, np.hypot(x - 0.5, y - 0.5) / 0.71))
    ground = light + share[..., None] * (dark - light)
    step = 18 if scene.tone == "dark" else -18
    if scene.texture == "striped":
        ground += step * (np.sin(8 * np.pi * (x + y)) > 0)[..., None]
    if scene.texture == "dotted":
        across, down = np.modf(8 * x)[0] - 0.5, np.modf(8 * y)[0] - 0.5
        ground += 1.5 * step * (np.hypot(across, down) < 0.26)[..., None]
    return Image.fromarray(ground.clip(0, 255).astype(np.uint8))
