"""The classes of mini-dit: groups of emoji with many members, and who recognises them.

`LABELS` lists the classes in the order of their ids; `recognised` judges a picture by its pixels alone,
with a small network that was trained on painted pictures (examples/training/classify_emoji.py) and has
never seen one of the model's.
"""

import functools
import itertools

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from .stored import filled

LABELS = ("face", "person", "animal", "plant", "food", "vehicle", "building", "clothing")
CONFIDENT = 0.5
SIDE = 64  # pixels that the network sees
WIDTHS = (3, 32, 64, 96, 128)
WEIGHTS = "emoji-groups.safetensors"


def recognised(image: Image.Image) -> str | None:
    """Name the class of a picture; None where the network is not sure of any."""
    pixels = torch.from_numpy(np.asarray(image.convert("RGB")).copy()).permute(2, 0, 1)
    return recognise(_trained(), pixels[None].float() / 127.5 - 1)[0]


def network() -> nn.Sequential:
    """Build four convolutions of stride two and a linear layer; (N, 3, 64, 64) to (N, classes)."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(WIDTHS):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Dropout(0.3), nn.Linear(WIDTHS[-1] * 16, len(LABELS))
    )


def shrink(pictures: Tensor) -> Tensor:
    """Average pictures (N, 3, H, W) down to (N, 3, 64, 64)."""
    return functional.adaptive_avg_pool2d(pictures, SIDE)


@torch.no_grad()
def recognise(model: nn.Module, pictures: Tensor) -> list[str | None]:
    """Name the class of each picture (N, 3, H, W) in [-1, 1]; None where `model` is not sure."""
    sure, best = model(shrink(pictures)).softmax(1).max(1)
    return [LABELS[i] if p > CONFIDENT else None for p, i in zip(sure, best, strict=True)]


@functools.cache
def _trained() -> nn.Sequential:
    return filled(network(), WEIGHTS)
