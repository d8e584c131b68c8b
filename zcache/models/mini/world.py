"""Which prompts the embedded models were taught to draw, by their words."""

from __future__ import annotations

import re

from . import motion, scenes

SMALL = ["a", "an", "one", "two", "three", "left", "right", "of", "above", "below", "up", "down",
         "on", "while", "and"]  # fmt: skip
GRAMMATICAL = {
    "the",
    "in",
    "at",
    "with",
    "to",
    "from",
    "by",
    "for",
    "is",
    "are",
    "its",
    "into",
    "over",
}
SHAPES = {
    "mini-flux": {form for kind in scenes.KINDS for form in (kind, f"{kind}s")},
    "mini-hunyuan": set(motion.KINDS),
}
TAUGHT = {
    "mini-flux": {*scenes.COLOURS, *scenes.TONES, *scenes.TEXTURES, "small", "large", "background"},
    "mini-hunyuan": {
        *motion.COLOURS,
        *(word for words, _ in motion.ACTIONS.values() for word in words.split()),
    },
}


def outside(name: str, prompt: str) -> list[str]:
    """Return the words of a prompt that the embedded model `name` was never taught, in their order, without
    "the" and its like where there are others; of a prompt that names no shape but is all taught, all.

    Of a model that is not embedded, or draws classes, nothing is known: none.
    """
    if name not in TAUGHT:
        return []
    words = list(dict.fromkeys(re.findall(r"[^\W_]+", prompt.lower())))
    foreign = [word for word in words if word not in {*SMALL, *SHAPES[name], *TAUGHT[name]}]
    if not foreign and not SHAPES[name] & set(words):
        return words
    return [word for word in foreign if word not in GRAMMATICAL] or foreign
