"""What others do to the classes that we stand in front of: patches put over ours, classes changed under us."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from diffusers import FluxPipeline

import zcache
from zcache import ZCacheConfig
from zcache.caching import adapters, intercept
from zcache.caching.handle import handles

from ..pipelines import BY_NAME

FLUX, CONFIG = BY_NAME["flux"], ZCacheConfig(interval=4)


@pytest.fixture
def restored() -> Iterator[Any]:
    """FluxPipeline's own call, which every test has to leave in its place."""
    own = FluxPipeline.__call__
    yield own
    now, FluxPipeline.__call__ = FluxPipeline.__call__, own
    assert now is own


def patched(calls: list[Any], copies_attributes: bool) -> Callable[[], None]:
    """Put a wrapper around the class's call, as other libraries do; returns how to take it away."""
    before = FluxPipeline.__call__

    def around(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(self)
        return before(self, *args, **kwargs)

    FluxPipeline.__call__ = functools.wraps(before)(around) if copies_attributes else around
    return lambda: setattr(FluxPipeline, "__call__", before)


@pytest.mark.parametrize("copies_attributes", [True, False])
def test_a_patch_that_was_put_on_after_enable_outlives_disable(
    restored: Any, copies_attributes: bool
) -> None:
    pipe, calls = FLUX.build(), []
    plain = FLUX.run(pipe)
    zcache.enable(pipe, CONFIG)
    undo = patched(calls, copies_attributes)
    cached = FLUX.run(pipe)
    zcache.disable(pipe)

    assert pipe not in handles and not intercept._fronts
    assert torch.equal(FLUX.run(pipe), plain) and not torch.equal(cached, plain)
    assert len(calls) == 2
    with zcache.enabled(pipe, CONFIG):  # over the patch this time
        assert torch.equal(FLUX.run(pipe), cached)
    assert torch.equal(FLUX.run(pipe), plain) and len(calls) == 4
    undo()
    with zcache.enabled(pipe, CONFIG):  # what was left inert is found, and goes
        assert torch.equal(FLUX.run(pipe), cached)
    assert len(calls) == 4


def test_a_patch_of_another_pipeline_stays_when_the_first_is_disabled(restored: Any) -> None:
    one, other, calls = FLUX.build(), FLUX.build(), []
    zcache.enable(one, CONFIG)
    undo = patched(calls, True)
    zcache.enable(other, CONFIG)
    zcache.disable(one)
    FLUX.run(one)
    FLUX.run(other)
    assert calls == [one, other] and other in handles
    undo()
    zcache.disable(other)


@pytest.mark.parametrize("first", [True, False])
def test_a_transformer_whose_class_is_changed_is_cached_as_before(first: bool) -> None:
    """FSDP2 derives a class from the transformer's and gives it to the instance."""
    pipe = FLUX.build()
    own = type(pipe.transformer)
    with zcache.enabled(pipe, CONFIG):
        expected = FLUX.run(pipe)
    derived = type(f"FSDP{own.__name__}", (own,), {})
    if first:
        pipe.transformer.__class__ = derived
    with zcache.enabled(pipe, CONFIG) as handle:
        pipe.transformer.__class__ = derived
        assert torch.equal(FLUX.run(pipe), expected)
    assert handle.report().fallbacks == () and handle.report().reflect_passes
    assert not intercept._fronts
    assert adapters.find(pipe.transformer) is adapters.described(own.__name__)


def test_pipelines_that_share_parts_are_disabled_in_any_order() -> None:
    one = FLUX.build()
    other = FluxPipeline.from_pipe(one)
    zcache.enable(one, CONFIG)
    handle = zcache.enable(other, CONFIG)
    expected = FLUX.run(other)
    zcache.disable(one)
    assert torch.equal(FLUX.run(other), expected)
    assert handle.report().reflect_passes and handle.report().fallbacks == ()
    zcache.disable(other)
    assert not intercept._fronts
