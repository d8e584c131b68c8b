"""The closed form of a step is the scheduler's own step, or is not used."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
)

import zcache
from zcache import ZCacheConfig
from zcache.caching import affine

from ..pipelines import BY_NAME, dit, flux

CONFIG = ZCacheConfig(interval=4)


def flow(**settings: Any) -> Any:
    return FlowMatchEulerDiscreteScheduler(shift=3.0, **settings)


def ddim(**settings: Any) -> Any:
    return DDIMScheduler(**{"clip_sample": False, **settings})


KNOWN = {
    "flow": flow(),
    "inverted": flow(invert_sigmas=True),
    "epsilon": ddim(),
    "v": ddim(prediction_type="v_prediction"),
    "sample": ddim(prediction_type="sample"),
    "trailing": ddim(timestep_spacing="trailing", set_alpha_to_one=False),
}


@pytest.mark.parametrize("begin", [0, 3])
@pytest.mark.parametrize("scheduler", KNOWN.values(), ids=KNOWN)
def test_a_known_form_is_every_step_of_its_scheduler(scheduler: Any, begin: int) -> None:
    scheduler.set_timesteps(12)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(begin)
    form = affine.find(scheduler, begin)
    assert form is not None and len(form.rows) == 12 - begin
    generator = torch.Generator().manual_seed(0)
    for step, timestep in enumerate(scheduler.timesteps[begin:]):
        x, v = (torch.randn(2, 3, 4, generator=generator) for _ in range(2))
        expected = scheduler.step(v, timestep, x, return_dict=False)[0]
        actual = form.advance(step, v, x)
        assert float(affine.beyond_rounding(actual, expected)) == 0
        assert float(affine.beyond_rounding(actual * (1 + 1e-5), expected)) > 0


def test_the_flows_step_is_exact_in_half_precision() -> None:
    scheduler = flow()
    scheduler.set_timesteps(12)
    form = affine.find(scheduler, 0)
    x, v = torch.randn(64), torch.randn(64).to(torch.bfloat16)
    expected = scheduler.step(v, scheduler.timesteps[0], x, return_dict=False)[0]
    assert torch.equal(form.advance(0, v, x), expected.to(x.dtype))


@pytest.mark.parametrize(
    "scheduler",
    [
        flow(stochastic_sampling=True),
        ddim(clip_sample=True),
        ddim(thresholding=True),
        ddim(rescale_betas_zero_snr=True, timestep_spacing="trailing"),
        DDPMScheduler(),
        UniPCMultistepScheduler(),
        DPMSolverMultistepScheduler(),
        type("Own", (DDIMScheduler,), {"__module__": "mine"})(clip_sample=False),
    ],
    ids=lambda scheduler: type(scheduler).__name__,
)
def test_noise_memory_and_clipping_have_no_form(scheduler: Any) -> None:
    scheduler.set_timesteps(12)
    assert affine.find(scheduler, 0) is None


def test_arguments_that_change_the_step_are_not_plain() -> None:
    assert affine.is_plain((), {"return_dict": False, "generator": object(), "eta": 0.0})
    assert not affine.is_plain((), {"eta": 0.5})
    assert not affine.is_plain((0.5,), {})
    assert not affine.is_plain((), {"per_token_timesteps": torch.ones(2)})


@pytest.mark.parametrize(("name", "build"), [("flux", flux), ("dit", dit)])
def test_reflection_is_the_same_by_steps_and_in_closed_form(
    name: str, build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw() -> torch.Tensor:
        pipe = build()
        with zcache.enabled(pipe, CONFIG):
            return BY_NAME[name].run(pipe)

    closed = draw()
    monkeypatch.setattr(affine, "find", lambda scheduler, begin: None)
    torch.testing.assert_close(closed, draw(), rtol=0, atol=1e-5)


def test_a_form_that_is_not_the_step_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    def draw() -> torch.Tensor:
        pipe = flux()
        with zcache.enabled(pipe, CONFIG) as handle:
            picture = BY_NAME["flux"].run(pipe)
        assert handle.report().fallbacks == ()
        return picture

    monkeypatch.setattr(affine, "find", lambda scheduler, begin: None)
    expected = draw()
    wrong = affine.Affine(((1.0, -0.05),) * 12)
    monkeypatch.setattr(affine, "find", lambda scheduler, begin: wrong)
    assert torch.equal(draw(), expected)


@pytest.mark.parametrize("change", ["another", "in place"])
def test_tables_that_change_in_a_run_are_seen(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def draw() -> torch.Tensor:
        pipe = flux()

        def callback(pipe: Any, i: int, t: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
            if i == 7 and change == "another":
                pipe.scheduler.sigmas = pipe.scheduler.sigmas**1.1
            elif i == 7:
                pipe.scheduler.sigmas.pow_(1.1)
            return kwargs

        with zcache.enabled(pipe, ZCacheConfig(full_steps=(0, 3, 7, 11))):
            return BY_NAME["flux"].run(pipe, callback_on_step_end=callback)

    closed = draw()
    monkeypatch.setattr(affine, "find", lambda scheduler, begin: None)
    torch.testing.assert_close(closed, draw(), rtol=0, atol=1e-5)
