"""Arguments of calls as text: the same for the same contents, another for others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from zcache.measure.tune.naming import text

from ...pipelines import seeded

SAME_SUM = torch.tensor([[1.0, 2.0], [3.0, 4.0]])


def picture(value: int, mode: str = "RGB") -> Image.Image:
    return Image.new(mode, (2, 3), value)


def moved(generator: torch.Generator) -> torch.Generator:
    torch.rand(1, generator=generator)
    return generator


@pytest.mark.parametrize(
    "different",
    [
        [SAME_SUM, SAME_SUM.T, SAME_SUM.flatten(), SAME_SUM.double(), SAME_SUM.bfloat16()],
        [torch.tensor(1j), torch.tensor(2j), torch.tensor(True), torch.zeros(0)],
        [np.zeros(3), np.ones(3), np.zeros(3, np.float32), np.float32(0), np.float32(1), 0.0],
        [picture(0), picture(9), picture(0, "L"), [picture(0)], [picture(0), picture(9)]],
        [seeded(1), seeded(2), moved(seeded(1)), [seeded(1), seeded(2)], [seeded(2), seeded(1)]],
        [{"scale": 1.0}, {"scale": 0.5}, {"scale": {"x": 1.0}}, {"image": picture(0)}, {}],
        [[SAME_SUM], [SAME_SUM.T], (SAME_SUM,), [SAME_SUM, SAME_SUM], [], (), None, "None"],
    ],
)
def test_other_contents_have_another_text(different: list[Any]) -> None:
    named = [text(each) for each in different]
    assert len(set(named)) == len(named)


def test_the_same_contents_have_the_same_text() -> None:
    assert text(SAME_SUM) == text(SAME_SUM.clone()) == text(SAME_SUM.T.contiguous().T)
    assert text(picture(9)) == text(picture(9)) and text(seeded(1)) == text(seeded(1))
    assert text({"a": 1, "b": [2, SAME_SUM]}) == text({"b": [2, SAME_SUM.clone()], "a": 1})


@pytest.mark.parametrize("value", ["a 'word'", 3, 0.5, True, [1, "b"], (1,), (1, [2.0])])
def test_plain_values_are_written_as_python_does(value: Any) -> None:
    assert text(value) == repr(value)


@pytest.mark.parametrize(
    "value", [print, object(), [len], {"a": object()}, np.array([print]), SAME_SUM.to_sparse()]
)
def test_what_has_no_contents_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="whose contents have no name"):
        text(value)
