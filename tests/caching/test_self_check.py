"""The first full step checks that the feature it found gives the output again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

import zcache
from zcache import ZCacheConfig
from zcache.caching import adapters
from zcache.caching.adapters import Adapter

from ..pipelines import CASES, STEPS, flux, flux_transformer

FLUX = next(case for case in CASES if case.name == "flux")
granularity = pytest.mark.parametrize("granularity", ["stack", "module", "output"])


def described(adapter: Adapter) -> Any:
    pipe = flux()
    pipe.transformer.__class__ = type("Odd", (type(pipe.transformer),), {})
    adapters.register("Odd", adapter)
    return pipe


@pytest.fixture
def forgetful() -> Iterator[Callable[[Adapter], Any]]:
    yield described
    adapters._adapters.pop("Odd", None)


def test_a_forgotten_list_of_blocks_is_noticed_before_anything_is_cached(
    forgetful: Callable[[Adapter], Any],
) -> None:
    right = adapters.find(flux_transformer())
    pipe = forgetful(
        Adapter(right.blocks[:1], conditioning=right.conditioning, per_step=right.per_step)
    )
    plain = FLUX.run(pipe)
    with zcache.enabled(pipe, ZCacheConfig(interval=4)) as handle:
        assert torch.equal(FLUX.run(pipe), plain)
    report = handle.report()
    assert report.full_passes == STEPS and report.finished
    assert "everything was computed in full" in report.fallbacks[0]


def test_an_embedding_that_is_taken_for_constant_is_noticed(
    forgetful: Callable[[Adapter], Any],
) -> None:
    """The modulation from time and text passed through: a cached pass cannot run at all."""
    right = adapters.find(flux_transformer())
    wrong = Adapter(
        right.blocks, conditioning=(*right.conditioning, "time_text_embed"), per_step=()
    )
    pipe = forgetful(wrong)
    plain = FLUX.run(pipe)
    with zcache.enabled(pipe, ZCacheConfig(interval=4)) as handle:
        try:
            found = FLUX.run(pipe)
        except (RuntimeError, TypeError, AttributeError) as error:
            pytest.fail(f"the self-check let {error!r} through")
    assert torch.equal(found, plain)
    assert "everything was computed in full" in handle.report().fallbacks[0]


@granularity
def test_the_self_check_costs_one_cached_pass(granularity: str) -> None:
    pipe, calls = flux(), []
    pipe.transformer.proj_out.register_forward_pre_hook(lambda *_: calls.append(1))
    with zcache.enabled(pipe, ZCacheConfig(interval=4, granularity=granularity)) as handle:
        FLUX.run(pipe)
    report = handle.report()
    passes = report.full_passes
    if granularity != "output":
        passes += report.forecast_passes + report.reflect_passes + 1
    assert len(calls) == passes


def test_what_a_hook_raised_is_named() -> None:
    """A hook of the user's that is called twice by the first step, which checks itself."""
    pipe, calls = flux(), []

    class PressedError(Exception):
        pass

    def stop(*_: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise PressedError("stop")

    hook = pipe.transformer.register_forward_pre_hook(stop)
    with zcache.enabled(pipe, ZCacheConfig(interval=4)) as handle:
        FLUX.run(pipe)
    hook.remove()
    (reason,) = handle.report().fallbacks
    assert "PressedError: stop" in reason and "or a hook on it raised this" in reason
