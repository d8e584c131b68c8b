"""Which prompts are in the embedded models' world: every caption they were taught, and nothing else."""

import random

import pytest

from zcache.models.examples import EXAMPLES
from zcache.models.mini import motion, scenes, world

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
    ("name", "prompt", "words"),
    [
        ("mini-flux", "a fox in the snow", ["fox", "snow"]),
        ("mini-flux", "a Cat, beside a pink fox.", ["beside", "fox"]),
        ("mini-flux", "a kitten left of two cats", ["kitten", "two", "cats"]),
        ("mini-flux", "a red circle", ["red", "circle"]),
        ("mini-flux", "the cat", ["the"]),
        ("mini-flux", "blue", ["blue"]),
        ("mini-flux", "", []),
        ("mini-hunyuan", "a cat moves left", ["cat"]),
        ("mini-hunyuan", "a red circle above a blue square", ["above"]),
    ],
)
def test_what_is_foreign_is_named_in_its_order(name, prompt, words):
    assert world.outside(name, prompt) == words


def test_of_other_models_nothing_is_said():
    assert world.outside("flux-dev", "a fox in the snow") == []
