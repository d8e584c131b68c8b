"""The denoiser is called in modes of torch that the scheduler's step is not taken in, as loops of one's own do."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

import zcache
from zcache import ZCacheConfig
from zcache.caching.modes import Modes

from ..pipelines import STEPS
from .loops import Loop, every_granularity


def autocast() -> AbstractContextManager[None]:
    return torch.autocast("cpu", torch.bfloat16)


def latent(loop: Loop, config: ZCacheConfig, around_call: Any, around_all: Any) -> Tensor:
    scheduler, x = loop.pipe.scheduler, loop.latent.clone()
    with zcache.enabled(loop.pipe, config) as handle, handle.sampling(), around_all():
        scheduler.set_timesteps(STEPS, mu=0.5)
        for index, t in enumerate(scheduler.timesteps):
            with around_call():
                v = loop.predict(index, x, t)
            x = scheduler.step(v, t, x, return_dict=False)[0]
    assert handle.report().reflect_passes > 0 and handle.report().fallbacks == ()
    return x


@every_granularity
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_mode_around_the_call_alone_is_as_around_the_whole_loop(
    mode: Any, granularity: str
) -> None:
    loop, config = Loop(), ZCacheConfig(interval=4, granularity=granularity)
    found = latent(loop, config, mode, nullcontext)
    assert not found.requires_grad
    assert torch.equal(found, latent(loop, config, nullcontext, torch.no_grad))


@every_granularity
def test_reflected_passes_are_cast_as_the_calls_were(granularity: str) -> None:
    loop, config = Loop(), ZCacheConfig(interval=4, granularity=granularity)
    with torch.no_grad():
        found = latent(loop, config, autocast, nullcontext)
        assert torch.equal(found, latent(loop, config, nullcontext, autocast))


@pytest.mark.parametrize("mode", [nullcontext, torch.no_grad, torch.inference_mode, autocast])
@pytest.mark.parametrize("within", [torch.no_grad, torch.inference_mode, autocast])
def test_modes_are_entered_again_and_left_as_they_were(mode: Any, within: Any) -> None:
    with mode():
        wanted = Modes.now("cpu")
    with within():
        before = Modes.now("cpu")
        with wanted.entered():
            now = Modes.now("cpu")
        assert Modes.now("cpu") == before
    assert (now.autocast, now.dtype) == (wanted.autocast, wanted.dtype)
    assert now.inference == (wanted.inference or before.inference)
    assert now.grad == (wanted.grad and before.grad)


def test_a_device_without_autocast_has_that_of_the_cpu() -> None:
    assert Modes.now("meta") == Modes.now("cpu")
