"""ToCa and DuCa. The published rules: which steps, and which tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from zcache import UnsupportedPipelineError
from zcache.evaluation.rivals.toca.layers import Layer, importance, spread_out
from zcache.evaluation.rivals.toca.rules import Settings, plan, share

from .families import (
    F,
    S,
    T,
    numbers,
)


def test_the_importance_of_a_token_falls_with_the_norm_of_its_values() -> None:
    """One head, norms 1, 2, 4: 1 - (1/4, 1/2, 1) = (3/4, 1/2, 0), of length sqrt(13)/4. A second
    head whose norms are 4, 2, 1 makes the sum (3/4, 1, 3/4), of length sqrt(34)/4."""
    first = torch.tensor([[1.0, 0.0], [0.0, 2.0], [4.0, 0.0]])[None]
    second = torch.tensor([[0.0, 4.0], [2.0, 0.0], [0.0, 1.0]])[None]

    one, two = importance(first, 1), importance(torch.cat([first, second], -1), 2)

    assert torch.allclose(one, torch.tensor([[3.0, 2.0, 0.0]]) / 13**0.5)
    assert torch.allclose(two, torch.tensor([[3.0, 4.0, 3.0]]) / 34**0.5)


def test_the_best_of_every_patch_gets_the_bonus() -> None:
    """A side of 3 makes patches of 2x2, 2x1, 1x2 and 1x1: 5, 6, 8 and 9 are their best."""
    score = torch.arange(1.0, 10.0)[None]
    wanted = torch.tensor([[1.0, 2.0, 3.0, 4.0, 7.5, 9.0, 7.0, 12.0, 13.5]])
    assert torch.equal(spread_out(score, 0.5), wanted)
    with pytest.raises(UnsupportedPipelineError, match="8 tokens make no square"):
        spread_out(score[:, :8], 0.5)


def test_age_brings_every_token_its_turn() -> None:
    """N = 5, so a step of waiting is worth 0.25 / 5 = 0.05. Of four tokens, one a step: at first the
    most important, then 0.06 + 0.05 beats 0.1 + 0, then 0.03 + 0.1 beats 0.1 + 0.05 not, ..."""
    layer = Layer(5, 0.0)
    layer.importance = torch.tensor([[0.1, 0.06, 0.03, 0.0]])
    layer.keep(torch.zeros(1, 4, 2))
    layer.share = 0.25
    turns = []
    for _ in range(6):
        layer.choose()
        turns.append(layer.chosen.item())
    # 0: .1 .06 .03 0 | .1 .11 .08 .05 | .15 .06 .13 .1 | .1 .11 .18 .15 | .15 .16 .03 .2 | .2 .21 ...
    assert turns == [0, 1, 0, 2, 3, 1]


@pytest.mark.parametrize(
    ("name", "settings", "full"),
    [
        ("flux-dev", Settings(10), (0, 1, 2, 12, 22, 32, 42)),
        ("flux-dev", Settings(9, warmup=4), (0, 1, 2, 3, 12, 21, 30, 39, 48)),
        ("flux-dev", Settings(10, ratio=1.0), (0, 10, 20, 30, 40)),
        ("hunyuan-video", Settings(5), tuple(range(0, 50, 5))),
        # s = 49 is full, n = round(13 / (1.4 - 0.8 * 49 / 50)) = 21 leads to s = 42, then n = 18, 16,
        # 15, 14, 14 to 36, 32, 30, 28, 14; there n = 2 to 12, 10, 8, and n = 10 to 0. As coded, of
        # these those which the new n divides: 49 (the first), 28, 14, 12, 10, 0.
        ("dit-xl-2", Settings(13), (0, 7, 13, 17, 19, 21, 35, 37, 39, 41, 49)),
        ("dit-xl-2", Settings(13, coded=True), (0, 21, 35, 37, 39, 49)),
        ("dit-xl-2", Settings(13, ratio=1.0), (0, 10, 23, 36, 49)),
    ],
)
def test_the_full_steps_are_the_published_ones(
    name: str, settings: Settings, full: tuple[int, ...]
) -> None:
    kinds = plan(settings, numbers(name), 50)
    assert tuple(step for step, kind in enumerate(kinds) if kind is F) == full


@pytest.mark.parametrize(
    ("settings", "full"),
    # The printed FLOPs stand for 10.1, 8.2 and 6.2 full steps of ToCa, 11.1, 8.2 and 5.1 of DuCa.
    [((6,), 10), ((9,), 8), ((13,), 6), ((5, True), 11), ((9, True), 8), ((12, True), 5)],
)
def test_dit_as_coded_has_the_full_steps_of_the_papers_table(settings: Any, full: int) -> None:
    interval, *dual = settings
    kinds = plan(Settings(interval, coded=True, dual=bool(dual)), numbers("dit-xl-2"), 50)
    assert kinds.count(F) == full


def test_duca_alternates() -> None:
    hunyuan_video = plan(Settings(5, dual=True), numbers("hunyuan-video"), 50)
    assert hunyuan_video == (F, T, S, T, S) * 10
    # s from 11, where n = 4 / 0.667 = 6: 10 ... 7 leave 4, 3, 2, 1. At 6, n = 4: 5 leaves 1. At 4, n =
    # 2: 3 leaves 1. At 2, n = round(3.16): 1 leaves 1.
    wanted = (F, S, T, S, T, F, T, F, T, F, T, F)
    assert plan(Settings(4, dual=True), numbers("dit-xl-2"), 12) == wanted


def test_the_share_of_tokens_is_the_published_product() -> None:
    """R' = 1 - R, times stream, times depth, times time."""
    flux_dev, dit_xl = numbers("flux-dev"), numbers("dit-xl-2")

    def of_flux(stream: str, block: int) -> float:
        return share(Settings(5), flux_dev, stream, block, 38, 7, 50)

    assert of_flux("transformer_blocks", 0) == pytest.approx(0.1 * 0.4 * 1.5)
    assert of_flux("single_transformer_blocks", 27) == pytest.approx(0.1 * 1.6 * 0.5)
    assert of_flux("single_transformer_blocks", 37) == pytest.approx(0.1 * 1.6 * 0.1296, rel=1e-3)

    def of_dit(block: int, step: int, ratio: float = 0.93) -> float:
        return share(Settings(5, ratio), dit_xl, "transformer_blocks", block, 28, step, 50)

    assert of_dit(0, 11) == 0 < of_dit(0, 12)  # s = 38 and 37 of 50: a quarter
    assert of_dit(0, 49) == pytest.approx(0.07 * 2.5 * 0.8 * 3)
    assert of_dit(27, 49) == pytest.approx(0.07 * 2.5 * 1.2 * 3)
    assert of_dit(27, 49, ratio=0.0) == 1.0
