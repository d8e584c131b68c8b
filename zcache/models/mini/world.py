"""Which prompts the embedded models were taught to draw, by their words."""

from __future__ import annotations

import re

from . import motion, scenes

GRAMMATICAL = {"the", "in", "at", "with", "to", "from", "by", "for", "is", "are", "its", "into", "over",
               "one", "and", "of", "on"}  # fmt: skip
SUBJECTS = {"mini-flux": {*scenes.NOUNS}, "mini-hunyuan": {*motion.KINDS}}
TAUGHT = {
    "mini-flux": {*scenes.words()},
    "mini-hunyuan": {
        *("a", "an", "while", *motion.COLOURS, *motion.KINDS),
        *(word for words, _ in motion.ACTIONS.values() for word in words.split()),
    },
}


def outside(name: str, prompt: str) -> list[str]:
    """Return the words of a prompt that the embedded model `name` was never taught, in their order, without
    "the" and its like where there are others; of a prompt that names no subject but is all taught, all.

    Of a model that is not embedded, or draws classes, nothing is known: none.
    """
    if name not in TAUGHT:
        return []
    words = list(dict.fromkeys(re.findall(r"[^\W_]+", prompt.lower())))
    foreign = [word for word in words if word not in TAUGHT[name]]
    if not foreign and not SUBJECTS[name] & set(words):
        return words
    return [word for word in foreign if word not in GRAMMATICAL] or foreign
