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


@pytest.mark.parametrize(("past", "before"), [(False, [4.0]), (True, [2.0, 4.0])])
def test_room_is_made_before_a_full_step_and_after_its_window(past: bool, before: list) -> None:
    """At order 1 a forecast takes two anchors. The window that step 6 closes takes step 4 and it, and, where
    the blend looks back, step 2; after it, forecasts take 4 and 6."""

    def held() -> list[float]:
        return [tensor.item() for tensor in anchors.tensors()]

    anchors = filled("taylorseer", 1, (0, 2, 4))
    anchors.close_window()
    assert held() == [2.0, 4.0] and not anchors.holds_past
    anchors.make_room(past)
    assert held() == before
    anchors.add(6, torch.tensor([6.0]), torch.zeros(3))
    assert anchors.steps == [2, 4, 6] and anchors.holds_past == past
    assert anchors.output.numel() == 0
    assert anchors.reflect(5, 1.0).item() == 5.0
    anchors.close_window()
    assert held() == [4.0, 6.0] and anchors.forecast(8).item() == 8.0


@pytest.mark.parametrize("base", ["taylorseer", "hicache", "foca", "spectrum"])
def test_a_line_is_forecast_and_reflected_exactly_and_the_anchor_gives_itself(base: str) -> None:
    anchors = filled(base, 1, (0, 4, 8))
    assert anchors.forecast(11).item() == pytest.approx(11.0)
    assert anchors.reflect(6, 0.3).item() == pytest.approx(6.0)
    assert anchors.reflect(8, 1.0) is anchors.features[-1]
