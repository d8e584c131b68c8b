"""Laws of the classes: every drawing is recognised as its own class, and as no other."""

import random
from collections import Counter

import pytest
from PIL import Image, ImageFilter

from zcache.models.mini import classes


def test_there_are_enough_classes_and_all_differ() -> None:
    assert len(classes.LABELS) == len(set(classes.LABELS)) >= 16


@pytest.mark.parametrize("label", classes.LABELS)
def test_a_drawing_is_recognised_as_its_own_class(label: str) -> None:
    for seed in range(6):
        assert classes.recognised(classes.draw(label, random.Random(seed))) == label


def test_recognition_bears_a_little_blur() -> None:
    rng = random.Random(1)
    found = Counter()
    for label in classes.LABELS * 2:
        soft = classes.draw(label, rng).filter(ImageFilter.GaussianBlur(1.0))
        found[classes.recognised(soft) == label] += 1
    assert found[False] == 0


def test_two_shapes_are_no_class() -> None:
    left, right = (classes.draw(name, random.Random(2)) for name in ("red circle", "blue square"))
    both = Image.new("RGB", (256, 128), left.getpixel((0, 0)))
    both.paste(left, (0, 0))
    both.paste(right, (128, 0))
    assert classes.recognised(both) is None


def test_an_empty_picture_is_no_class() -> None:
    assert classes.recognised(Image.new("RGB", (128, 128), "white")) is None


def test_drawing_depends_on_the_label_and_the_seed_alone() -> None:
    first, same, other = (classes.draw("red triangle", random.Random(seed)) for seed in (5, 5, 6))
    assert first.tobytes() == same.tobytes() != other.tobytes()
