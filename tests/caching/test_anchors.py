"""Anchors: which are held, which are dropped, and when early ones take no part."""

import pytest
import torch

from zcache.caching.anchors import Anchors
from zcache.method import bases


def filled(base: str, order: int, steps: tuple[int, ...]) -> Anchors:
    anchors = Anchors(bases.resolve(base), order)
    for step in steps:
        anchors.add(step, torch.tensor([float(step)]), None)
    return anchors


@pytest.mark.parametrize(
    ("base", "order", "held"),
    [
        ("taylorseer", 0, 2),
        ("taylorseer", 1, 3),
        ("taylorseer", 2, 4),
        ("fora", 3, 2),
        ("hicache", 2, 4),
        ("foca", 1, 17),
        ("spectrum", 1, 11),
    ],
)
def test_one_anchor_more_than_a_forecast_uses_is_held(base: str, order: int, held: int) -> None:
    """A blend looks from the newest anchor and from the one before: order + 1 each, one apart."""
    steps = tuple(range(0, 80, 4))
    anchors = filled(base, order, steps)
    assert anchors.steps == list(steps[-held:])
    assert [tensor.item() for tensor in anchors.tensors()] == list(map(float, steps[-held:]))


@pytest.mark.parametrize("base", ["taylorseer", "hicache", "foca", "spectrum"])
def test_a_line_is_forecast_and_reflected_exactly_and_the_anchor_gives_itself(base: str) -> None:
    anchors = filled(base, 1, (0, 4, 8))
    assert anchors.forecast(11).item() == pytest.approx(11.0)
    assert anchors.reflect(6, 0.3).item() == pytest.approx(6.0)
    assert anchors.reflect(8, 1.0) is anchors.features[-1]
