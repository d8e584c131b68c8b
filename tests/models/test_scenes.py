"""Laws of the scenes: captions read back, the split is fair and fixed, drawing is deterministic."""

import random

import pytest

from zcache.models.mini import check, scenes


def test_captions_read_back_to_the_scene() -> None:
    rng = random.Random(0)
    for _ in range(2000):
        scene = scenes.sample(rng)
        assert check.read(scenes.caption(scene)) == scene


def test_a_caption_in_full() -> None:
    scene = scenes.Scene(
        (scenes.Group(3, "small", "yellow", "star"), scenes.Group(1, None, "orange", "square")),
        "above",
        "dark",
        "striped",
    )
    text = "three small yellow stars above an orange square on a dark striped background"
    assert scenes.caption(scene) == text


def test_reading_forgives_case_and_a_final_stop() -> None:
    assert check.read("A red circle on a light background.").groups[0].colour == "red"


@pytest.mark.parametrize("text", ["", "a pink circle on a light background", "a red circle"])
def test_reading_refuses_what_is_not_in_the_grammar(text: str) -> None:
    with pytest.raises(ValueError, match="write for example"):
        check.read(text)


def test_parts_never_share_a_caption() -> None:
    train = {scenes.caption(s) for s in scenes.samples(3000, "train", seed=1)}
    held_out = {scenes.caption(s) for s in scenes.samples(300, "held-out", seed=1)}
    assert not train & held_out


def test_one_caption_in_twenty_is_held_out() -> None:
    rng = random.Random(2)
    parts = [scenes.split(scenes.caption(scenes.sample(rng))) for _ in range(8000)]
    assert 0.04 < parts.count("held-out") / len(parts) < 0.06


def test_groups_always_differ_in_colour() -> None:
    rng = random.Random(3)
    for _ in range(500):
        scene = scenes.sample(rng)
        assert len({group.colour for group in scene.groups}) == len(scene.groups)


def test_drawing_depends_on_the_scene_and_the_seed_alone() -> None:
    scene = scenes.samples(1, "train", seed=4)[0]
    first, same, other = (scenes.draw(scene, random.Random(seed)) for seed in (5, 5, 6))
    assert first.tobytes() == same.tobytes()
    assert first.tobytes() != other.tobytes()
    assert first.size == (scenes.IMAGE_SIZE, scenes.IMAGE_SIZE)
