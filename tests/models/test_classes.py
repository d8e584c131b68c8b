"""Laws of the classes: what mini-dit paints is recognised as what was asked for, noise as nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from zcache.models.mini import classes

from ..embedded import DIT


@pytest.fixture(scope="module")
def painted() -> list[Image.Image]:
    """A picture of every class, uncached, at the model's own guidance."""
    pictures = DIT.draw(
        DIT.pipe(), 50, len(classes.LABELS), class_labels=range(len(classes.LABELS))
    )
    return [Image.fromarray((255 * one).round().astype(np.uint8)) for one in pictures]


def test_the_labels_are_those_of_the_model() -> None:
    labels = DIT.pipe().labels
    assert [labels[name] for name in classes.LABELS] == list(range(len(labels)))


def test_the_pictures_of_the_model_are_recognised(painted: list[Image.Image]) -> None:
    """198 of 200 are (examples/check_mini_dit.py); of eight one may be missed."""
    found = [classes.recognised(one) for one in painted]
    assert sum(a == b for a, b in zip(found, classes.LABELS, strict=True)) >= 7


def test_recognition_bears_blur_and_another_size(painted: list[Image.Image]) -> None:
    found = [classes.recognised(one) for one in painted]
    soft = [classes.recognised(one.filter(ImageFilter.GaussianBlur(1.0))) for one in painted]
    large = [classes.recognised(one.resize((256, 256))) for one in painted]
    assert sum(a == b for a, b in zip(found, soft, strict=True)) >= 7
    assert sum(a == b for a, b in zip(found, large, strict=True)) >= 7


def test_a_network_that_is_not_sure_names_no_class() -> None:
    """Equal scores give every class one eighth."""
    even = classes.network().eval()
    torch.nn.init.zeros_(even[-1].weight)
    torch.nn.init.zeros_(even[-1].bias)
    assert classes.recognise(even, torch.zeros(2, 3, 128, 128)) == [None, None]
    even[-1].bias.data[3] = 3.0  # e^3 / (e^3 + 7) = 0.74
    assert classes.recognise(even, torch.zeros(1, 3, 128, 128)) == [classes.LABELS[3]]
