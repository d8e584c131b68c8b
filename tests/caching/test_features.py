"""Sums of features with scalar factors; the anchors that hold them."""

from __future__ import annotations

import pytest
import torch

from zcache.caching.features import combine


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_added_up_in_float32(dtype: torch.dtype) -> None:
    """2048 + 1 - 2048 in half precision loses the 1; so does 1 + 2^-12 - 1."""
    big, small = torch.tensor([2048.0], dtype=dtype), torch.tensor([1.0], dtype=dtype)
    assert combine([big, small, big], [1.0, 1.0, -1.0]).tolist() == [1.0]
    assert combine([small, small, small], [1.0, 2.0**-12, -1.0]).tolist() == [2.0**-12]
    assert combine([big, small], [1.0, 1.0]).dtype == dtype


def test_a_lone_factor_of_one_gives_the_feature_itself_and_another_a_multiple() -> None:
    one, two = torch.ones(3), torch.full((3,), 2.0)
    assert combine([one, two], [0.0, 1.0]) is two
    assert combine([one, two], [0.0, 0.5]).tolist() == [1.0] * 3
    assert combine([one], [3.0]).tolist() == [3.0] * 3
    assert combine([one, two], [0.0, 0.0]).tolist() == [0.0] * 3


def test_a_tree_is_added_leaf_by_leaf() -> None:
    tree = (torch.ones(2), (torch.zeros(1), None))
    found = combine([tree, tree], [0.5, 1.5])
    assert found[0].tolist() == [2.0, 2.0] and found[1][0].tolist() == [0.0] and found[1][1] is None
