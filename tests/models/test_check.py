"""Laws of the check: what the model paints obeys its caption, and every single violation is caught."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from zcache.models.mini import check, scenes
from zcache.models.mini.scenes import Scene

from ..embedded import FLUX

Painted = list[tuple[Image.Image, Scene]]
COUNT = 8


def following(value: str, values: tuple[str, ...]) -> str:
    return values[(values.index(value) + 1) % len(values)]


def another(scene: Scene) -> str:
    return next(noun for noun in scenes.NOUNS if noun not in scene.nouns)


VIOLATIONS: dict[str, Callable[[Scene], Scene]] = {
    "noun": lambda s: replace(s, nouns=(*s.nouns[:-1], another(s))),
    "place": lambda s: replace(
        s,
        nouns=s.nouns if s.relation else (*s.nouns, another(s)),
        relation="left of" if s.relation == "above" else "above",
    ),
    "background": lambda s: replace(s, tone=following(s.tone, scenes.TONES)),
    "texture": lambda s: replace(s, texture=following(s.texture, scenes.TEXTURES)),
}


@pytest.fixture(scope="module")
def painted() -> Painted:
    """The model's uncached pictures of held-out captions, those that obey."""
    chosen = scenes.samples(COUNT, "held-out", seed=1)
    pictures = FLUX.draw(FLUX.pipe(), 25, COUNT, prompt=[scenes.caption(one) for one in chosen])
    images = [Image.fromarray((255 * one).round().astype(np.uint8)) for one in pictures]
    return [pair for pair in zip(images, chosen, strict=True) if check.obeys(*pair)]


def test_most_pictures_of_the_model_obey_by_caption_as_by_scene(painted: Painted) -> None:
    assert len(painted) >= 0.7 * COUNT
    for image, scene in painted:
        assert check.obeys(image, scenes.caption(scene)) == check.obeys(image, scene)


@pytest.mark.parametrize("clause", VIOLATIONS)
def test_every_other_caption_is_disobeyed(clause: str, painted: Painted) -> None:
    for image, scene in painted:
        verdict = check.obeys(image, VIOLATIONS[clause](scene))
        assert any(failure.startswith(f"{clause}: ") for failure in verdict.failures), scene


def test_swapped_nouns_are_caught(painted: Painted) -> None:
    for image, scene in painted:
        if len(scene.nouns) > 1:
            turned = replace(scene, nouns=(*scene.nouns[1:], scene.nouns[0]))
            found = [failure.split(":")[0] for failure in check.obeys(image, turned).failures]
            assert found == ["noun"] * len(scene.nouns)


def test_an_emoji_that_is_covered_or_turned_away_is_missed(painted: Painted) -> None:
    for image, scene in painted:
        (x, y), half = scene.places[0], scene.side // 2 + 3
        covered = image.copy()
        covered.paste(image.getpixel((1, 1)), (x - half, y - half, x + half, y + half))
        assert any(failure.startswith("noun: ") for failure in check.obeys(covered, scene).failures)
        if scene.relation:
            aside = image.transpose(Image.Transpose.ROTATE_90)
            assert not check.obeys(aside, scene)


def test_a_clause_says_what_was_seen(painted: Painted) -> None:
    image, scene = painted[0]
    wrong = VIOLATIONS["background"](scene)
    assert check.obeys(image, wrong).failures == (f"background: {scene.tone}, not {wrong.tone}",)
    wrong = VIOLATIONS["noun"](scene)
    number = len(scene.nouns)
    assert check.obeys(image, wrong).failures == (
        f"noun: {scene.nouns[-1]} in place {number}, not a {wrong.nouns[-1]}",
    )


def test_the_check_bears_blur_noise_and_another_size(painted: Painted) -> None:
    rng = np.random.default_rng(0)
    for change in (
        lambda image: image.filter(ImageFilter.GaussianBlur(0.7)),
        lambda image: Image.fromarray(
            (np.asarray(image) + rng.normal(0, 3, (128, 128, 3))).clip(0, 255).astype(np.uint8)
        ),
        lambda image: image.resize((256, 256)),
    ):
        obeyed = [bool(check.obeys(change(image), scene)) for image, scene in painted]
        assert sum(obeyed) >= len(painted) - 1


@pytest.mark.parametrize("level", [0, 128, 255])
def test_an_empty_picture_obeys_nothing(level: int) -> None:
    picture = Image.new("RGB", (scenes.IMAGE_SIZE,) * 2, (level,) * 3)
    for scene in scenes.samples(40, "held-out", seed=2):
        assert not check.obeys(picture, scene)


def test_noise_obeys_nothing() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (scenes.IMAGE_SIZE, scenes.IMAGE_SIZE, 3))
    for scene in scenes.samples(40, "held-out", seed=3):
        assert not check.obeys(Image.fromarray(pixels.astype(np.uint8)), scene)


def test_squares_are_cut_around_the_places() -> None:
    """A picture whose red is its column and whose green is its row: means are the places' own."""
    row, column = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    picture = torch.stack([column, row, row])
    scene = Scene(("cat", "dog", "car"), "above", "light", "plain")
    squares = check.cut(picture, scene)
    assert squares.shape == (3, 3, check.SQUARE, check.SQUARE)
    # 58 and a margin of 8: from x - 33 to x + 32, whose mean is x - 0.5
    expected = torch.tensor([[63.5, 32.5], [32.5, 94.5], [94.5, 94.5]])
    assert torch.allclose(squares.mean((2, 3))[:, :2], expected, atol=0.3)


def test_a_network_that_is_not_sure_names_no_noun() -> None:
    nouns = check.networks()["nouns"].eval()
    torch.nn.init.zeros_(nouns[-1].weight)
    torch.nn.init.zeros_(nouns[-1].bias)
    scene = Scene(("cat", "dog"), "above", "light", "plain")
    picture = torch.zeros(3, 128, 128)
    assert check.name(nouns, picture, scene) == [None, None]  # 1/25 each
    nouns[-1].bias.data[2] = 4.0  # e^4 / (e^4 + 24) = 0.69
    assert check.name(nouns, picture, scene) == ["rabbit", "rabbit"]
    nouns[-1].bias.data[len(scenes.NOUNS)] = 9.0
    assert check.name(nouns, picture, scene) == [None, None]


def test_the_ground_is_read_head_by_head() -> None:
    grounds = check.networks()["grounds"].eval()
    torch.nn.init.zeros_(grounds[-1].weight)
    bias = grounds[-1].bias.data.zero_()
    bias[[4, len(check.LAYOUTS) + 3, len(check.LAYOUTS) + len(scenes.TONES) + 1]] = 1.0
    found = check.survey(grounds, torch.zeros(1, 3, 128, 128))
    assert found == [check.Ground((3, "left of"), "green", "striped")]
