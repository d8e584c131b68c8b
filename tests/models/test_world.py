"""Which prompts are in the embedded models' world: every caption they were taught, and nothing else."""

import random

import pytest

from zcache.models.mini import motion, scenes, world
from zcache.models.request import EXAMPLES

GRAMMARS = {"mini-flux": scenes, "mini-hunyuan": motion}


@pytest.mark.parametrize("name", GRAMMARS)
def test_every_caption_of_the_grammar_is_inside(name):
    rng = random.Random(0)
    captions = {GRAMMARS[name].caption(GRAMMARS[name].sample(rng)) for _ in range(500)}

    assert {caption for caption in captions if world.outside(name, caption)} == set()


@pytest.mark.parametrize(("name", "kind"), [("mini-flux", "image"), ("mini-hunyuan", "video")])
def test_the_examples_of_the_page_are_inside(name, kind):
    assert [world.outside(name, prompt) for prompt in EXAMPLES[kind]] == [[], [], []]


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("a fox in the snow", ["fox", "snow"]),
        ("a Red circle, beside a pink fox.", ["beside", "pink", "fox"]),
        ("a red circle moves left", ["moves"]),
        ("the red circle", ["the"]),
        ("blue", ["blue"]),
        ("", []),
    ],
)
def test_what_is_foreign_is_named_in_its_order(prompt, words):
    assert world.outside("mini-flux", prompt) == words


def test_of_other_models_nothing_is_said():
    assert world.outside("flux-dev", "a fox in the snow") == []
