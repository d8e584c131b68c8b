"""What is done to the latent between two steps is carried along, and keeps its precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

import zcache
from zcache import ZCacheConfig
from zcache.caching.edits import repeated

from ..pipelines import STEPS, flux, flux_arguments
from .loops import FLUX, Loop, every_granularity

W0 = ZCacheConfig(full_steps=(0, 4, 8, STEPS - 1), base="fora", weight=lambda j, n: 0.0, relax=None)


@every_granularity
@pytest.mark.parametrize("inference", [False, True])
def test_an_edit_in_place_is_carried_like_a_new_latent(granularity: str, inference: bool) -> None:
    """`latents.add_(0.1)` in a callback at a cached step and at a full one; and the w0 law with it."""

    def in_place(pipe: Any, index: int, timestep: Any, kwargs: dict) -> dict:
        if index in (2, 4):
            kwargs["latents"].add_(0.1)
        return {}

    def anew(pipe: Any, index: int, timestep: Any, kwargs: dict) -> dict:
        return {"latents": kwargs["latents"] + 0.1} if index in (2, 4) else {}

    pipe, found = flux(), {}
    config = ZCacheConfig(interval=4, granularity=granularity)
    w0 = W0.replace(granularity=granularity)
    for callback in (in_place, anew):
        for name, setting in {"usual": config, "w0": w0, "off": w0.replace(reflect=False)}.items():
            with torch.inference_mode(inference), zcache.enabled(pipe, setting) as handle:
                found[callback.__name__, name] = FLUX.run(pipe, callback_on_step_end=callback)
            assert handle.report().fallbacks == ()
            assert (handle.report().reflect_passes > 0) == setting.reflect
    close = {"rtol": 0, "atol": 2e-6}
    for name in ("usual", "w0", "off"):
        torch.testing.assert_close(found["in_place", name], found["anew", name], **close)
    torch.testing.assert_close(found["in_place", "w0"], found["in_place", "off"], **close)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_the_pipeline_put_back_is_put_back_again_and_what_it_added_added(
    dtype: torch.dtype,
) -> None:
    """Inpainting replaces what lies outside its mask; added noise goes on top of whatever is there."""
    torch.manual_seed(0)
    before, again, kept, noise = (torch.randn(64, 64, dtype=dtype) for _ in range(4))
    painted = torch.arange(64) > 58
    inpainted = torch.where(painted, before, kept)
    right = repeated(again, before, inpainted) == torch.where(painted, again, kept)
    assert (
        right.float().mean() > 0.99
    )  # in bfloat16 one value in some hundreds is put back by chance
    assert dtype == torch.bfloat16 or right.all()
    noisy = before + 0.1 * noise  # in bfloat16 some values stay as they were
    torch.testing.assert_close(repeated(again, before, noisy), again + (noisy - before))


def test_a_latent_that_went_through_a_coarser_dtype_is_not_taken_for_replaced() -> None:
    torch.manual_seed(0)
    before, again = torch.randn(2, 64, 16)
    before[:8] = 1.0
    cast = before.bfloat16().float()
    assert torch.equal(cast[:8], before[:8]) and not torch.equal(cast, before)
    torch.testing.assert_close(repeated(again, before, cast), again, rtol=0, atol=0.02)


class Widening(FlowMatchEulerDiscreteScheduler):
    """Returns double precision, and notes what it is given."""

    seen: tuple[torch.dtype, ...] = ()

    def step(self, model_output: Any, timestep: Any, sample: Any, *a: Any, **k: Any) -> Any:
        Widening.seen += (sample.dtype,)
        return (super().step(model_output, timestep, sample, *a, **k)[0].double(),)


def test_going_back_keeps_the_precision_in_which_the_pipeline_keeps_its_latent() -> None:
    pipe = flux()
    pipe.scheduler = Widening.from_config(pipe.scheduler.config)
    Widening.seen = ()

    def single(pipe: Any, index: int, timestep: Any, values: dict) -> dict:
        return {"latents": values["latents"].float()}

    arguments = flux_arguments(STEPS, callback_on_step_end=single)
    with zcache.enabled(pipe, ZCacheConfig(interval=4)) as handle:
        pipe(**arguments)
    assert handle.report().reflect_passes > 0 and handle.report().fallbacks == ()
    assert set(Widening.seen) == {torch.float32}


def masked(loop: Loop, mask: torch.Tensor, fresh: bool) -> Callable[..., torch.Tensor]:
    """Mix the latent with another one after every step: the same each time, or a fresh one."""
    generator = torch.Generator().manual_seed(2)
    other = torch.randn(loop.latent.shape, generator=generator)

    def step(scheduler: Any, v: torch.Tensor, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        kept = torch.randn(x.shape, generator=generator) if fresh else other
        return mask * scheduler.step(v, t, x, return_dict=False)[0] + (1 - mask) * kept

    return step


@pytest.mark.parametrize(
    ("share", "fresh", "said"),
    [(0.5, False, True), (0.0, False, False), (0.0, True, False), (1.0, False, False)],
    ids=["mixed", "written-over", "written-over-anew", "left"],
)
def test_that_a_latent_is_mixed_with_another_is_said(share: float, fresh: bool, said: bool) -> None:
    loop = Loop()
    mask = torch.ones_like(loop.latent)
    mask[:, :16] = share
    config = ZCacheConfig(interval=3, granularity="output")
    _, report = loop.cached(config, step=masked(loop, mask, fresh))
    assert any("mixes the latent" in reason for reason in report.fallbacks) == said
    assert report.forecast_passes > 0
    assert said or report.fallbacks == ()
