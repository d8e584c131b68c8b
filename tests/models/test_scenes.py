"""Laws of the scenes: captions read back, the split is fair and fixed, places are apart and inside."""

import ast
import itertools
import random
from pathlib import Path

import pytest

from zcache.models.mini import check, scenes
from zcache.models.mini.parts import split


def test_captions_read_back_to_the_scene() -> None:
    rng = random.Random(0)
    for _ in range(2000):
        scene = scenes.sample(rng)
        assert check.read(scenes.caption(scene)) == scene


def test_captions_in_full() -> None:
    three = scenes.Scene(("apple", "cat", "tree"), "above", "dark", "striped")
    alone = scenes.Scene(("owl",), None, "pink", "plain")
    assert scenes.caption(three) == "an apple above a cat and a tree on a dark striped background"
    assert scenes.caption(alone) == "an owl on a pink background"


def test_reading_forgives_case_and_a_final_stop() -> None:
    assert check.read("A Cat on a light  background.").nouns == ("cat",)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a cat",
        "a kitten on a light background",
        "a catfish on a light background",
        "a cat on a red background",
        "a cat above on a light background",
        "a cat and a dog on a light background",
        "a cat above a dog and a car and a hat on a light background",
    ],
)
def test_reading_refuses_what_is_not_in_the_grammar(text: str) -> None:
    with pytest.raises(ValueError, match="write for example 'a cat left of a cake"):
        check.read(text)


def test_every_word_of_a_caption_is_listed_and_every_listed_word_is_said() -> None:
    rng = random.Random(1)
    said = {word for _ in range(3000) for word in scenes.caption(scenes.sample(rng)).split()}
    assert sorted(said) == scenes.words()


def test_parts_never_share_a_caption() -> None:
    train = {scenes.caption(s) for s in scenes.samples(3000, "train", seed=1)}
    held_out = {scenes.caption(s) for s in scenes.samples(300, "held-out", seed=1)}
    assert not train & held_out


def test_one_caption_in_twenty_is_held_out() -> None:
    rng = random.Random(2)
    parts = [split(scenes.caption(scenes.sample(rng))) for _ in range(8000)]
    assert 0.04 < parts.count("held-out") / len(parts) < 0.06


def test_nouns_of_a_scene_always_differ() -> None:
    rng = random.Random(3)
    for _ in range(500):
        scene = scenes.sample(rng)
        assert len({*scene.nouns}) == len(scene.nouns)


def test_emoji_are_inside_the_picture_apart_and_where_the_relation_says() -> None:
    for count, relation in scenes.PLACES:
        scene = scenes.Scene(("cat",) * count, relation, "light", "plain")
        half = scene.side / 2
        for place in scene.places:
            assert all(half <= middle <= scenes.IMAGE_SIZE - half for middle in place)
        for one, other in itertools.combinations(scene.places, 2):
            assert max(abs(a - b) for a, b in zip(one, other, strict=True)) >= scene.side
        axis = {"left of": 0, "above": 1}.get(relation)
        if axis is not None:
            first, *others = (place[axis] for place in scene.places)
            assert all(first + scene.side <= other for other in others)


def test_scenes_do_not_import_torch() -> None:
    tree = ast.parse(Path(scenes.__file__).read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not any("torch" in ast.unparse(node) for node in imports)
