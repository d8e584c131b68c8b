"""What a loop writes into, and what float16 cannot hold: no wrong picture in silence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import zcache
from zcache import ZCacheConfig
from zcache.caching.features import Contents, clipped, combine
from zcache.caching.stand_ins import HeadWithResidual

from ..pipelines import STEPS, dit, seeded
from .loops import Loop, every_granularity

every_mode = pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
SAID = "writes into what the denoiser is given or gave"


@every_mode
@every_granularity
def test_a_loop_that_writes_into_the_output_before_the_step_is_left_as_forecast(
    granularity: str, mode: Any
) -> None:
    """In inference mode torch counts no writes."""
    loop = Loop()

    def anew(index: int, x: Tensor, t: Tensor) -> Tensor:
        return -loop.predict(index, x, t)

    def in_place(index: int, x: Tensor, t: Tensor) -> Tensor:
        return loop.predict(index, x, t).neg_()

    config = ZCacheConfig(interval=4, granularity=granularity)
    with mode():
        wanted, _ = loop.cached(config.replace(reflect=False), velocity=anew)
        found, report = loop.cached(config, velocity=in_place)
    assert report.reflect_passes == 0
    assert any(SAID in reason for reason in report.fallbacks)
    torch.testing.assert_close(found, wanted)


@every_mode
@pytest.mark.parametrize("granularity", ["stack", "module"])
def test_a_timestep_that_is_filled_anew_is_left_as_forecast(granularity: str, mode: Any) -> None:
    loop = Loop()
    with mode():
        buffer = torch.zeros(1)

    def in_place(index: int, x: Tensor, t: Tensor) -> Tensor:
        return loop.predict(index, x, t, timestep=buffer.fill_(t / 1000))

    config = ZCacheConfig(interval=4, granularity=granularity)
    with mode():
        wanted, _ = loop.cached(config.replace(reflect=False))
        found, report = loop.cached(config, velocity=in_place)
    assert report.reflect_passes == 0
    assert any(SAID in reason for reason in report.fallbacks)
    torch.testing.assert_close(found, wanted)


@every_granularity
def test_in_inference_mode_a_loop_that_writes_nowhere_is_reflected_as_without(
    granularity: str,
) -> None:
    loop, config = Loop(), ZCacheConfig(interval=4, granularity=granularity)
    wanted, report = loop.cached(config)
    with torch.inference_mode():
        found, said = loop.cached(config)
    assert torch.equal(found, wanted)
    assert (said.walk, said.fallbacks) == (report.walk, ()) and said.reflect_passes


@pytest.mark.parametrize("reflect", [True, False])
@every_mode
def test_an_output_that_was_written_into_is_no_anchor(mode: Any, reflect: bool) -> None:
    """DDIM without guidance would cache the output; the loop has negated the first one by then."""
    config = ZCacheConfig(interval=4, reflect=reflect)
    with mode():
        found, report = _dit_loop(config, lambda output: output.neg_())
        wanted, said = _dit_loop(config.replace(granularity="stack", reflect=False), torch.neg)
    assert report.granularity == said.granularity == "stack"
    torch.testing.assert_close(found, wanted)
    assert _dit_loop(config, torch.neg)[1].granularity == "output"


def _dit_loop(config: ZCacheConfig, change: Callable[[Tensor], Tensor]) -> tuple[Tensor, Any]:
    """A loop over DDIM in which the pipeline's own code makes something of each output."""
    pipe, size = dit(), 8
    latent = torch.randn((1, 4, size, size), generator=seeded(3))
    labels, scheduler = torch.tensor([1]), pipe.scheduler
    with torch.no_grad(), zcache.enabled(pipe, config) as handle, handle.sampling():
        scheduler.set_timesteps(STEPS)
        for t in scheduler.timesteps:
            output = pipe.transformer(latent, timestep=t.reshape(1), class_labels=labels)[0]
            latent = scheduler.step(change(output[:, :4]), t, latent)[0]
    return latent, handle.report()


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bool, torch.complex64])
def test_contents_tell_a_write_even_one_that_leaves_the_sum(kind: torch.dtype) -> None:
    tensor = torch.tensor([1, 0, 1, 1]).to(kind)
    before = Contents(tensor)
    assert before == Contents(tensor.clone())
    assert before != Contents(tensor.flip(0)) and before != Contents(torch.ones_like(tensor))
    assert before != Contents(-tensor if kind is not torch.bool else ~tensor)


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
