"""Judges whether a picture obeys a caption, by its pixels alone.

The caption is read by a grammar of its own. Two small networks look at the picture: one names the noun
in a square around each place of the caption's layout, the other the layout, the tone and the texture of
the whole. They were trained on paintings (examples/training/classify_scenes.py) and have never seen a
picture of the model's.
"""

import functools
import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from .scenes import IMAGE_SIZE, NOUNS, PLACES, RELATIONS, TEXTURES, TONES, Scene
from .stored import filled
from .verdict import Verdict

WEIGHTS = "emoji-scenes.safetensors"
SQUARE, MARGIN = (
    48,
    8,
)  # pixels of a square as its network sees it, and of the ground around an emoji
LAYOUTS = tuple(PLACES)
CONFIDENT = 0.5  # a noun seen with less is none

_NOUN = r" an? (?P<noun{}>" + "|".join(NOUNS) + ")"
_SENTENCE = re.compile(
    _NOUN.format(1)
    + rf"(?: (?P<relation>{'|'.join(RELATIONS)}){_NOUN.format(2)}(?: and{_NOUN.format(3)})?)?"
    + rf" on a (?P<tone>{'|'.join(TONES)})(?: (?P<texture>{'|'.join(TEXTURES[1:])}))? background\.?"
)


@dataclass(frozen=True)
class Ground:
    """What is seen of a whole picture."""

    layout: tuple[int, str | None]
    tone: str
    texture: str


def read(caption: str) -> Scene:
    """Read a caption; case and a final stop do not matter.

    Raises:
        ValueError: The caption is not a sentence of the grammar.
    """
    match = _SENTENCE.fullmatch(" " + " ".join(caption.lower().split()))
    if match is None:
        raise ValueError(
            f"cannot read {caption!r}; write for example 'a cat left of a cake on a dark striped "
            "background'"
        )
    found = match.groupdict()
    nouns = tuple(found[f"noun{i}"] for i in (1, 2, 3) if found[f"noun{i}"])
    return Scene(nouns, found["relation"], found["tone"], found["texture"] or "plain")


def obeys(image: Image.Image, wanted: Scene | str) -> Verdict:
    """Check every noun in its place, the places, and the background's tone and texture."""
    scene = read(wanted) if isinstance(wanted, str) else wanted
    networks, picture = _trained(), signal([image])
    failures = [
        f"noun: {seen or 'nothing known'} in place {number}, not a {noun}"
        for number, (seen, noun) in enumerate(
            zip(name(networks["nouns"], picture[0], scene), scene.nouns, strict=True), 1
        )
        if seen != noun
    ]
    ground = survey(networks["grounds"], picture)[0]
    if ground.layout != scene.layout:
        failures.append(f"place: {_said(ground.layout)}, not {_said(scene.layout)}")
    if ground.tone != scene.tone:
        failures.append(f"background: {ground.tone}, not {scene.tone}")
    if ground.texture != scene.texture:
        failures.append(f"texture: {ground.texture}, not {scene.texture}")
    return Verdict(tuple(failures))


def networks() -> nn.ModuleDict:
    """Build the network of nouns, (N, 3, 48, 48) to (N, nouns and none), and that of grounds,
    (N, 3, 128, 128) to (N, layouts, tones and textures in a row)."""
    grounds = len(LAYOUTS) + len(TONES) + len(TEXTURES)
    return nn.ModuleDict(
        {
            "nouns": _network((3, 32, 64, 96, 128), SQUARE, 1 + len(NOUNS)),
            "grounds": _network((3, 16, 32, 64, 96, 128), IMAGE_SIZE, grounds),
        }
    )


def signal(images: Iterable[Image.Image]) -> Tensor:
    """Give images as one tensor (N, 3, 128, 128) in [-1, 1]; larger ones are averaged down."""
    stacked = torch.from_numpy(np.stack([np.asarray(one.convert("RGB")) for one in images]))
    pictures = stacked.permute(0, 3, 1, 2).float() / 127.5 - 1
    return nn.functional.adaptive_avg_pool2d(pictures, IMAGE_SIZE)


def cut(picture: Tensor, scene: Scene) -> Tensor:
    """Cut the squares around the places of a scene, (places, 3, 48, 48), out of (3, 128, 128)."""
    half = (scene.side + MARGIN) // 2
    squares = [
        nn.functional.interpolate(
            picture[None, :, max(0, y - half) : y + half, max(0, x - half) : x + half],
            (SQUARE, SQUARE),
            mode="area",
        )
        for x, y in scene.places
    ]
    return torch.cat(squares)


@torch.no_grad()
def name(nouns: nn.Module, picture: Tensor, scene: Scene) -> list[str | None]:
    """Name the noun seen in each place of a scene; None where there is none or it is not sure."""
    sure, best = nouns(cut(picture, scene)).softmax(1).max(1)
    known = (*NOUNS, None)
    return [known[i] if p > CONFIDENT else None for p, i in zip(sure, best, strict=True)]


@torch.no_grad()
def survey(grounds: nn.Module, pictures: Tensor) -> list[Ground]:
    """See the whole of each picture (N, 3, 128, 128)."""
    parts = grounds(pictures).split([len(LAYOUTS), len(TONES), len(TEXTURES)], dim=1)
    best = zip(*(part.argmax(1).tolist() for part in parts), strict=True)
    return [Ground(LAYOUTS[i], TONES[j], TEXTURES[k]) for i, j, k in best]


def _network(widths: tuple[int, ...], side: int, outputs: int) -> nn.Sequential:
    """Build convolutions of stride two and a linear layer; (N, 3, side, side) to (N, outputs)."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(after), nn.ReLU()]
    tokens = (side >> (len(widths) - 1)) ** 2
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Dropout(0.3), nn.Linear(widths[-1] * tokens, outputs)
    )


def _said(layout: tuple[int, str | None]) -> str:
    count, relation = layout
    return f"{count} emoji" + (f", the first {relation} the others" if relation else "")


@functools.cache
def _trained() -> nn.ModuleDict:
    return filled(networks(), WEIGHTS)
