"""Sums of features with scalar factors; the anchors that hold them."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch

import zcache
from zcache import ZCacheConfig
from zcache.caching.arguments import locate, put
from zcache.caching.features import combine, rebuild

from ..pipelines import flux
from .loops import FLUX


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


class Named(NamedTuple):
    sample: Any
    more: Any = None


@pytest.mark.parametrize("like", [Named, lambda x: (x, 3), lambda x: [x, (x,)], lambda x: {"a": x}])
def test_an_output_is_made_again_of_other_tensors(like: Any) -> None:
    one, other = torch.zeros(1), torch.ones(1)
    made = rebuild(like(one), (other,) * 2)
    assert type(made) is type(like(one)) and made == like(other)


def test_a_latent_in_a_named_tuple_is_replaced() -> None:
    one, other = torch.zeros(1, 2), torch.ones(1, 2)
    arguments = ((Named(one, 3),), {})
    args, _ = put(arguments, locate(arguments, one), other)
    assert type(args[0]) is Named and args[0].sample.tolist() == [[1.0, 1.0]] and args[0].more == 3


def test_a_transformer_that_returns_a_named_tuple_is_cached() -> None:
    pipe = flux()

    class Naming(type(pipe.transformer)):
        def forward(self, *args: Any, **kwargs: Any) -> Named:
            return Named(super().forward(*args, **kwargs)[0])

    config = ZCacheConfig(interval=4, granularity="output")
    with zcache.enabled(pipe, config):
        wanted = FLUX.run(pipe)
    pipe.transformer.__class__ = Naming
    with zcache.enabled(pipe, config) as handle:
        torch.testing.assert_close(FLUX.run(pipe), wanted)
    assert handle.report().reflect_passes > 0 and handle.report().fallbacks == ()
