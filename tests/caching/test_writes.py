"""What a loop writes into, and what float16 cannot hold: no wrong picture in silence."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from zcache import ZCacheConfig
from zcache.caching.features import clipped, combine
from zcache.caching.stand_ins import HeadWithResidual

from .loops import Loop, every_granularity

SAID = "writes into what the denoiser is given or gave"


@every_granularity
def test_a_loop_that_writes_into_the_output_before_the_step_is_left_as_forecast(
    granularity: str,
) -> None:
    loop = Loop()

    def anew(index: int, x: Tensor, t: Tensor) -> Tensor:
        return -loop.predict(index, x, t)

    def in_place(index: int, x: Tensor, t: Tensor) -> Tensor:
        return loop.predict(index, x, t).neg_()

    config = ZCacheConfig(interval=4, granularity=granularity)
    wanted, _ = loop.cached(config.replace(reflect=False), velocity=anew)
    found, report = loop.cached(config, velocity=in_place)
    assert report.reflect_passes == 0
    assert any(SAID in reason for reason in report.fallbacks)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("granularity", ["stack", "module"])
def test_a_timestep_that_is_filled_anew_is_left_as_forecast(granularity: str) -> None:
    loop, buffer = Loop(), torch.zeros(1)

    def in_place(index: int, x: Tensor, t: Tensor) -> Tensor:
        return loop.predict(index, x, t, timestep=buffer.fill_(t / 1000))

    config = ZCacheConfig(interval=4, granularity=granularity)
    wanted, _ = loop.cached(config.replace(reflect=False))
    found, report = loop.cached(config, velocity=in_place)
    assert report.reflect_passes == 0
    assert any(SAID in reason for reason in report.fallbacks)
    torch.testing.assert_close(found, wanted)


def test_a_forecast_beyond_float16_is_clipped_as_models_clip() -> None:
    """From 60000 and 65000 the line goes to 70000, which float16 has as infinity."""
    past, now = torch.tensor([60000.0]).half(), torch.tensor([65000.0]).half()
    most = torch.finfo(torch.float16).max
    assert combine([past, now], [-1.0, 2.0]).item() == most
    assert clipped(now + now).item() == most
    wide = past.float(), now.float()
    assert combine(wide, [-1.0, 2.0]).item() == pytest.approx(2 * 65000 - 60000, rel=1e-3)
    assert clipped(wide[1] + wide[1]) is not None


def test_a_head_is_given_nothing_beyond_float16() -> None:
    head, hidden = HeadWithResidual(torch.nn.Identity()), torch.tensor([60000.0]).half()
    head.residual = hidden
    assert head(hidden).item() == torch.finfo(torch.float16).max
