"""A cache that is taken off in the middle of something, and what its handle keeps then."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

import zcache
from zcache import ZCacheConfig
from zcache.caching import intercept

from ..pipelines import BY_NAME

FLUX = BY_NAME["flux"]
CONFIG = ZCacheConfig(interval=4)


@pytest.mark.parametrize("kind", ["full", "forecast", "reflect"])
def test_disabling_while_a_pass_begins_lets_it_end(kind: str) -> None:
    pipe, seen = FLUX.build(), []
    plain = FLUX.run(pipe)
    handle = zcache.enable(pipe, CONFIG)

    def off(step: int, now: str, total: int) -> None:
        if now == kind and step >= 2 and not seen:
            seen.append(step)
            zcache.disable(pipe)

    handle.on_pass = off
    picture = FLUX.run(pipe)
    assert seen and torch.isfinite(picture).all()
    assert handle._run is None
    assert not intercept.is_armed(pipe.transformer, "__call__") and not intercept.is_armed(
        pipe.scheduler, "step"
    )
    assert torch.equal(FLUX.run(pipe), plain)


def test_disabling_in_another_thread_while_a_pass_runs_lets_it_end() -> None:
    pipe = FLUX.build()
    plain = FLUX.run(pipe)
    for stop in range(1, 12):
        calls = []

        def off(*_: Any, pipe: Any = pipe, calls: list = calls, stop: int = stop) -> None:
            calls.append(1)
            if len(calls) == stop:
                other = threading.Thread(target=zcache.disable, args=(pipe,))
                other.start()
                other.join()

        hook = pipe.transformer.norm_out.register_forward_pre_hook(off)
        zcache.enable(pipe, CONFIG)
        picture = FLUX.run(pipe)
        hook.remove()
        assert torch.isfinite(picture).all()
        assert not intercept.is_armed(pipe.transformer, "__call__")
        assert torch.equal(FLUX.run(pipe), plain)


def test_a_handle_keeps_its_report_and_no_model() -> None:
    pipe = FLUX.build()
    handle = zcache.enable(pipe, CONFIG)
    FLUX.run(pipe)
    zcache.disable(pipe)
    transformer, scheduler = weakref.ref(pipe.transformer), weakref.ref(pipe.scheduler)
    del pipe
    gc.collect()
    assert transformer() is None and scheduler() is None
    assert handle.report().finished


@pytest.mark.parametrize("replaced", [False, True])
def test_sampling_once_disabled_is_inert(replaced: bool) -> None:
    pipe = FLUX.build()
    plain = FLUX.run(pipe)
    handle = zcache.enable(pipe, CONFIG)
    zcache.disable(pipe)
    if replaced:
        pipe.scheduler = FlowMatchEulerDiscreteScheduler.from_config(pipe.scheduler.config)
    with handle.sampling():
        assert torch.equal(FLUX.run(pipe), plain)
    assert not intercept.is_armed(pipe.transformer, "__call__") and not intercept.is_armed(
        pipe.scheduler, "step"
    )
