"""Laws of the clips and of their check: drawn clips obey, and every single violation is caught."""

import ast
import random
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image, ImageFilter

from zcache.models.mini import motion, motion_check
from zcache.models.mini.motion import Actor
from zcache.models.mini.parts import split
from zcache.models.mini.shapes import COLOURS

Clip = tuple[Actor, ...]


def drawn(actors: Clip, seed: int = 0) -> list[Image.Image]:
    return motion.draw(actors, random.Random(seed))


def changed(actors: Clip, **changes: str) -> Clip:
    return (replace(actors[0], **changes), *actors[1:])


def following(value: str, values: tuple[str, ...]) -> str:
    return values[(values.index(value) + 1) % len(values)]


def test_captions_read_back_to_the_clip() -> None:
    rng = random.Random(0)
    for _ in range(500):
        actors = motion.sample(rng)
        assert motion_check.read(motion.caption(actors)) == actors


def test_a_caption_in_full() -> None:
    actors = (Actor("red", "circle", "left"), Actor("orange", "square", "grow"))
    assert motion.caption(actors) == "a red circle moves left while an orange square grows"


@pytest.mark.parametrize("text", ["", "a red circle", "a pink circle grows", "a red star grows"])
def test_reading_refuses_what_is_not_in_the_grammar(text: str) -> None:
    with pytest.raises(ValueError, match="write for example"):
        motion_check.read(text)


def test_parts_never_share_a_caption() -> None:
    train = {motion.caption(c) for c in motion.samples(2000, "train", seed=1)}
    held_out = {motion.caption(c) for c in motion.samples(100, "held-out", seed=1)}
    assert not train & held_out
    assert {split(text) for text in held_out} == {"held-out"}


def test_a_drawn_clip_obeys_its_own_caption() -> None:
    for seed, actors in enumerate(motion.samples(40, "train", seed=2)):
        verdict = motion_check.obeys(drawn(actors, seed), motion.caption(actors))
        assert verdict, (motion.caption(actors), verdict.failures)


@pytest.mark.parametrize("clause", ["colour", "kind", "action"])
def test_every_violation_is_caught(clause: str) -> None:
    for seed, actors in enumerate(motion.samples(10, "train", seed=3)):
        values = {
            "colour": tuple(c for c in COLOURS if c not in {a.colour for a in actors[1:]}),
            "kind": motion.KINDS,
            "action": tuple(motion.ACTIONS),
        }[clause]
        value = following(getattr(actors[0], clause), values)
        verdict = motion_check.obeys(drawn(changed(actors, **{clause: value}), seed), actors)
        assert any(f.startswith(clause) for f in verdict.failures), (clause, verdict.failures)


def test_a_missing_and_an_extra_actor_are_caught() -> None:
    for seed, actors in enumerate(motion.samples(8, "train", seed=4)):
        if len(actors) == 2:
            assert not motion_check.obeys(drawn(actors[:1], seed), actors)
            assert not motion_check.obeys(drawn(actors, seed), actors[:1])


def test_a_clip_played_backwards_or_frozen_disobeys() -> None:
    for seed, actors in enumerate(motion.samples(8, "train", seed=5)):
        frames = drawn(actors, seed)
        assert not motion_check.obeys(frames[::-1], actors)
        assert not motion_check.obeys(frames[:1] * len(frames), actors)


def test_jerky_motion_is_caught() -> None:
    actors = (Actor("blue", "circle", "right"),)
    frames = drawn(actors)
    halves = [frames[0]] * 8 + [frames[-1]] * 9
    assert any("smooth" in failure for failure in motion_check.obeys(halves, actors).failures)


def test_the_check_bears_a_little_blur() -> None:
    for seed, actors in enumerate(motion.samples(15, "train", seed=6)):
        frames = [frame.filter(ImageFilter.GaussianBlur(0.6)) for frame in drawn(actors, seed)]
        verdict = motion_check.obeys(frames, actors)
        assert verdict, (motion.caption(actors), verdict.failures)


def test_drawing_depends_on_the_clip_and_the_seed_alone() -> None:
    actors = motion.samples(1, "train", seed=7)[0]
    first, same, other = ([f.tobytes() for f in drawn(actors, seed)] for seed in (5, 5, 6))
    assert first == same != other
    assert len(first) == motion.FRAMES


@pytest.mark.parametrize("module", [motion, motion_check])
def test_motion_does_not_import_torch(module: ModuleType) -> None:
    tree = ast.parse(Path(module.__file__).read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not any("torch" in ast.unparse(node) for node in imports)
