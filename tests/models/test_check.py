"""Laws of the check: a drawn scene obeys its caption, and every single violation is caught."""

import ast
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image, ImageFilter

from zcache.models.mini import check, scenes
from zcache.models.mini.scenes import Scene

Change = Callable[[Scene], Scene]


def drawn(scene: Scene, seed: int = 0) -> Image.Image:
    return scenes.draw(scene, random.Random(seed))


def first(scene: Scene, **changes: object) -> Scene:
    return replace(scene, groups=(replace(scene.groups[0], **changes), *scene.groups[1:]))


def following(value: object, values: tuple) -> object:
    return values[(values.index(value) + 1) % len(values)]


VIOLATIONS: dict[str, Change] = {
    "count": lambda s: first(s, count=s.groups[0].count % 3 + 1),
    "colour": lambda s: first(
        s,
        colour=next(c for c in scenes.COLOURS if c not in {group.colour for group in s.groups}),
    ),
    "kind": lambda s: first(s, kind=following(s.groups[0].kind, scenes.KINDS)),
    "size": lambda s: first(
        s, size={"small": None, None: "small", "large": "small"}[s.groups[0].size]
    ),
    "place": lambda s: replace(s, relation=following(s.relation, scenes.RELATIONS)),
    "background": lambda s: replace(s, tone=following(s.tone, tuple(scenes.TONES))),
    "texture": lambda s: replace(s, texture=following(s.texture, scenes.TEXTURES)),
}


def test_a_drawn_scene_obeys_its_own_caption() -> None:
    for seed, scene in enumerate(scenes.samples(300, "train", seed=1)):
        verdict = check.obeys(drawn(scene, seed), scenes.caption(scene))
        assert verdict, (scenes.caption(scene), verdict.failures)


@pytest.mark.parametrize("clause", VIOLATIONS)
def test_every_violation_is_caught(clause: str) -> None:
    for seed, scene in enumerate(scenes.samples(60, "train", seed=2)):
        if clause == "place" and scene.relation is None:
            continue
        if clause == "size" and scene.groups[0].size is None:
            continue
        picture = drawn(VIOLATIONS[clause](scene), seed)
        verdict = check.obeys(picture, scenes.caption(scene))
        assert not verdict, (clause, scenes.caption(scene))
        assert any(failure.startswith(clause) for failure in verdict.failures), verdict.failures


def test_a_missing_and_an_extra_group_are_caught() -> None:
    for seed, scene in enumerate(scenes.samples(60, "train", seed=3)):
        if scene.relation is None:
            continue
        alone = replace(scene, groups=scene.groups[:1], relation=None)
        assert not check.obeys(drawn(alone, seed), scene)
        assert not check.obeys(drawn(scene, seed), alone)


def test_swapped_colours_are_caught() -> None:
    for seed, scene in enumerate(scenes.samples(60, "train", seed=4)):
        if scene.relation is None:
            continue
        one, two = scene.groups
        swapped = (replace(one, colour=two.colour), replace(two, colour=one.colour))
        assert not check.obeys(drawn(replace(scene, groups=swapped), seed), scene)


def test_the_check_bears_a_little_blur_and_noise() -> None:
    rng = np.random.default_rng(0)
    for seed, scene in enumerate(scenes.samples(60, "train", seed=5)):
        soft = drawn(scene, seed).filter(ImageFilter.GaussianBlur(0.5))
        noisy = np.asarray(soft) + rng.normal(0, 2, (scenes.IMAGE_SIZE, scenes.IMAGE_SIZE, 3))
        picture = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
        verdict = check.obeys(picture, scene)
        assert verdict, (scenes.caption(scene), verdict.failures)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_an_empty_picture_obeys_nothing(level: int) -> None:
    picture = Image.new("RGB", (scenes.IMAGE_SIZE,) * 2, (level,) * 3)
    assert not check.obeys(picture, "a red circle on a light background")


def test_noise_obeys_nothing() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (scenes.IMAGE_SIZE, scenes.IMAGE_SIZE, 3))
    assert not check.obeys(
        Image.fromarray(pixels.astype(np.uint8)), "a red circle on a grey background"
    )


@pytest.mark.parametrize("module", [scenes, check])
def test_scenes_and_check_do_not_import_torch(module: ModuleType) -> None:
    tree = ast.parse(Path(module.__file__).read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not any("torch" in ast.unparse(node) for node in imports)
