"""Scenes of one to three emoji in places on a background: a grammar, and a caption for each sentence.

    "a cat left of a cake on a dark striped background"
    "a dog above a tree and a car on a blue background"

`sample` draws a scene at random, `caption` says it in words, `places` tells where its emoji are, and
`split` decides by a hash of the caption whether a model may see it in training. The pictures are painted
by the training scripts alone (examples/training/emoji_scenes.py).
"""

import random
from dataclasses import dataclass

from .parts import split

IMAGE_SIZE = 128
NOUNS = (
    *("cat", "dog", "rabbit", "bear", "chick", "fish", "frog", "turtle", "butterfly", "flower", "tree"),
    *("mushroom", "apple", "strawberry", "burger", "cake", "house", "car", "boat", "rocket", "ball"),
    *("heart", "hat", "clock"),
)  # fmt: skip
TONES = ("light", "pink", "blue", "green", "dark")
TEXTURES = ("plain", "striped", "dotted")
RELATIONS = ("left of", "above")
LARGE, MIDDLE = 100, 58  # pixels of the longer side, alone and in company
# Layout, a number of emoji and the place of the first relative to the others: their centres, in the
# order of mention.
PLACES = {
    (0, None): (),
    (1, None): ((64, 64),),
    (2, "left of"): ((33, 64), (95, 64)),
    (2, "above"): ((64, 33), (64, 95)),
    (3, "left of"): ((33, 64), (95, 33), (95, 95)),
    (3, "above"): ((64, 33), (33, 95), (95, 95)),
}


@dataclass(frozen=True)
class Scene:
    """One to three nouns, the place of the first relative to the others, and a background."""

    nouns: tuple[str, ...]
    relation: str | None
    tone: str
    texture: str

    @property
    def layout(self) -> tuple[int, str | None]:
        """How many emoji there are, and their relation: a key of `PLACES`."""
        return len(self.nouns), self.relation

    @property
    def places(self) -> tuple[tuple[int, int], ...]:
        """The centre of each noun's emoji, in pixels of a picture 128 wide."""
        return PLACES[self.layout]

    @property
    def side(self) -> int:
        """The longer side of each emoji, in pixels of a picture 128 wide."""
        return LARGE if len(self.nouns) == 1 else MIDDLE


def words() -> list[str]:
    """List every word that a caption can have."""
    plain = [*NOUNS, *TONES, *TEXTURES[1:], *" ".join(RELATIONS).split()]
    return sorted({*plain, "a", "an", "and", "on", "background"})


def sample(rng: random.Random) -> Scene:
    """Draw a scene: one emoji in two of eight, two in five, three in one; all of them different."""
    count = rng.choice((1, 1, 2, 2, 2, 2, 2, 3))
    relation = rng.choice(RELATIONS) if count > 1 else None
    nouns = tuple(rng.sample(NOUNS, count))
    return Scene(nouns, relation, rng.choice(TONES), rng.choice(TEXTURES))


def caption(scene: Scene) -> str:
    """Say a scene in words, lower case, at most 14 of them."""
    first, *others = (("an " if noun[0] in "aeiou" else "a ") + noun for noun in scene.nouns)
    texture = "" if scene.texture == "plain" else f"{scene.texture} "
    place = f" {scene.relation} " + " and ".join(others) if others else ""
    return f"{first}{place} on a {scene.tone} {texture}background"


def samples(count: int, part: str, seed: int) -> list[Scene]:
    """Draw scenes whose captions belong to one part of the split."""
    rng = random.Random(seed)
    scenes: list[Scene] = []
    while len(scenes) < count:
        scene = sample(rng)
        if split(caption(scene)) == part:
            scenes.append(scene)
    return scenes
