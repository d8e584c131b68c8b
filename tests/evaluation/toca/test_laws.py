"""ToCa and DuCa. Laws of the context managers, on tiny pipelines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from zcache import ZCacheConfig, enabled
from zcache.caching import intercept
from zcache.evaluation.rivals.toca.on_pipeline import duca, toca

from ...pipelines import Case, flux
from .families import (
    DIT,
    FAMILIES,
    FLUX,
    OTHERS,
    WAYS,
    F,
    S,
    T,
    close,
)


def modules(pipe: Any) -> dict[str, int]:
    return {name: id(module) for name, module in pipe.transformer.named_modules()}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", [*FAMILIES, *OTHERS], ids=str)
def test_it_changes_the_picture_and_leaves_no_trace(case: Case, way: Callable[..., Any]) -> None:
    pipe = case.build()
    plain, before = case.run(pipe), modules(pipe)
    with way(pipe, 4) as cache:
        first, second = case.run(pipe), case.run(pipe)

    assert torch.equal(first, second) and not torch.equal(first, plain)
    assert (first - plain).norm() < 0.1 * plain.norm()
    assert set(cache.steps) == ({F, T} if way is toca else {F, T, S})
    assert cache.report().full_passes == cache.steps.count(F)
    assert torch.equal(case.run(pipe), plain) and modules(pipe) == before
    assert not intercept.is_armed(pipe.transformer, "__call__")
    assert not intercept.is_armed(pipe.scheduler, "step")


class StoppedError(Exception):
    """Raised in the middle of a pass."""


@pytest.mark.parametrize("case", FAMILIES, ids=str)
def test_an_exception_in_a_tokens_step_leaves_no_trace_and_the_next_run_is_clean(
    case: Case,
) -> None:
    pipe = case.build()
    plain, before = case.run(pipe), modules(pipe)
    calls = []

    def stop(*_: Any) -> None:
        calls.append(1)
        if len(calls) == 4:
            raise StoppedError

    with toca(pipe, 4) as cache:
        wanted = case.run(pipe)
        hook = pipe.transformer.transformer_blocks[-1].ff.register_forward_pre_hook(stop)
        with pytest.raises(StoppedError):
            case.run(pipe)
        hook.remove()
        assert cache.steps[3] is T
        assert modules(pipe) == before
        assert torch.equal(case.run(pipe), wanted)

    with pytest.raises(StoppedError), duca(pipe, 4):
        raise StoppedError
    assert torch.equal(case.run(pipe), plain)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("settings", [{"interval": 1}, {"interval": 4, "ratio": 0}], ids=str)
@pytest.mark.parametrize("case", FAMILIES, ids=str)
def test_what_caches_nothing_is_bit_identical(
    case: Case, settings: dict[str, Any], way: Callable[..., Any]
) -> None:
    pipe = case.build()
    with way(pipe, **settings) as cache:
        cached = case.run(pipe)

    assert set(cache.steps) == {F}
    assert torch.equal(cached, case.run(pipe))


@pytest.mark.parametrize("case", FAMILIES, ids=str)
def test_a_ratio_of_one_is_fora(case: Case) -> None:
    """No token computed: every layer reused from full steps 0, 4, 8; on DiT, which counts down from
    step 11, from those that 4 divides, and from the first."""
    full = (0, 3, 7, 11) if case is DIT else (0, 4, 8)
    fora = ZCacheConfig(base="fora", granularity="module", reflect=False, order=0, full_steps=full)
    pipe = case.build()
    with toca(pipe, 4, ratio=1.0) as cache:
        ours = case.run(pipe)
    with enabled(pipe, fora):
        theirs = case.run(pipe)

    assert cache.report().full_steps == full
    assert close(ours, theirs)


def test_two_pipelines_do_not_touch_each_other() -> None:
    """B runs inside every step of A, with another cache, and plain."""
    a, b = flux(), flux()
    plain = FLUX.run(b)
    with toca(a, 3):
        alone_a = FLUX.run(a)
    with duca(b, 4, ratio=0.5):
        alone_b = FLUX.run(b)
    drawn = []

    def draw(pipe: Any, step: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
        if step in (1, 4, 5):
            drawn.append(FLUX.run(b))
        return values

    with toca(a, 3):
        beside = FLUX.run(a, callback_on_step_end=draw)
        with duca(b, 4, ratio=0.5):
            both = FLUX.run(a, callback_on_step_end=draw)

    assert torch.equal(beside, alone_a) and torch.equal(both, alone_a)
    assert all(torch.equal(picture, plain) for picture in drawn[:3])
    assert all(torch.equal(picture, alone_b) for picture in drawn[3:])
