"""Stochastic samplers: a step that is taken again draws the noise it drew before.

The w0 law: with base `fora`, a weight of 0 and no relaxation, reflection gives every step the features
it had, so it must land where the first pass did, noise and all."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from diffusers import (
    CMStochasticIterativeScheduler,
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    LCMScheduler,
    LTXEulerAncestralRFScheduler,
    TCDScheduler,
)
from torch import Tensor

import zcache
from zcache import ZCacheConfig
from zcache.caching import noise

from ..pipelines import CASES, STEPS

DIT = next(case for case in CASES if case.name == "dit")
FLUX = next(case for case in CASES if case.name == "flux")
W0 = ZCacheConfig(
    full_steps=(0, 4, 7, STEPS - 1), base="fora", weight=lambda j, n: 0.0, relax=None,
    granularity="output",
)  # fmt: skip


class Listed(LTXEulerAncestralRFScheduler):
    """Takes FLUX's array of sigmas, too."""

    def set_timesteps(self, *args: Any, sigmas: Any = None, mu: Any = None, **more: Any) -> None:
        super().set_timesteps(*args, sigmas=[*sigmas.tolist(), 0.0], **more)


class Eta(DDIMScheduler):
    """DDIM with eta 1, where the pipeline does not say so."""

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor, **more: Any) -> Any:
        return super().step(model_output, timestep, sample, **{**more, "eta": 1.0})


STOCHASTIC = [
    (DIT, DDPMScheduler()),
    (DIT, LCMScheduler()),
    (DIT, TCDScheduler()),
    (DIT, EulerAncestralDiscreteScheduler()),
    (DIT, DPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver++")),
    (DIT, DPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver++", solver_order=3)),
    (DIT, CMStochasticIterativeScheduler()),
    (FLUX, FlowMatchEulerDiscreteScheduler(stochastic_sampling=True)),
    (FLUX, Listed()),
    (DIT, Eta(clip_sample=False)),
]


def drawn(case: Any, pipe: Any, config: ZCacheConfig | None) -> tuple[Tensor, Any]:
    torch.manual_seed(5)
    if config is None:
        return case.run(pipe), None
    with zcache.enabled(pipe, config) as handle:
        return case.run(pipe), handle.report()


@pytest.mark.parametrize(
    ("case", "scheduler"), STOCHASTIC, ids=[type(s).__name__ for _, s in STOCHASTIC]
)
def test_going_back_draws_the_same_noise_again(case: Any, scheduler: Any) -> None:
    pipe = case.build()
    pipe.scheduler = scheduler
    plain, _ = drawn(case, pipe, None)
    assert not torch.equal(plain, case.run(pipe)), "the sampler is not stochastic"
    forecast, _ = drawn(case, pipe, W0.replace(reflect=False))
    reflected, report = drawn(case, pipe, W0)
    assert report.fallbacks == () and report.reflect_passes == STEPS - 1
    size = forecast.abs().max()
    torch.testing.assert_close(reflected / size, forecast / size, rtol=0, atol=1e-5)
    again, _ = drawn(case, pipe, None)
    assert torch.equal(again, plain)


def test_without_cached_steps_the_noise_is_the_plain_runs() -> None:
    pipe = DIT.build()
    pipe.scheduler = DDPMScheduler()
    plain, _ = drawn(DIT, pipe, None)
    assert torch.equal(drawn(DIT, pipe, ZCacheConfig(interval=1))[0], plain)


def test_after_a_reflected_run_the_generator_stands_where_a_plain_run_leaves_it() -> None:
    """The noise is the plain run's, step by step; so is what is drawn afterwards."""
    pipe, left = DIT.build(), []
    pipe.scheduler = DDPMScheduler()
    for config in (None, W0):
        drawn(DIT, pipe, config)
        left.append(torch.get_rng_state())
    assert torch.equal(*left)


class Moody(DDIMScheduler):
    """Draws noise from a generator of its own, which nobody can see."""

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor, **more: Any) -> Any:
        result = super().step(model_output, timestep, sample, **more)
        result.prev_sample.add_(torch.randn(sample.shape, generator=GENERATOR) * 0.1)
        return result


GENERATOR = torch.Generator()


def test_noise_that_cannot_be_taken_back_is_noticed_and_said() -> None:
    pipe = DIT.build()
    pipe.scheduler = Moody(clip_sample=False)
    outputs = []
    for config in (W0.replace(reflect=False), W0):
        GENERATOR.manual_seed(3)
        output, report = drawn(DIT, pipe, config)
        outputs.append(output)
    assert "Moody does not give the same step twice" in report.fallbacks[0]
    assert report.reflect_passes == 0 and torch.isfinite(outputs[1]).all()


class Counted(DDIMScheduler):
    """Counts its steps."""

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor, **more: Any) -> Any:
        TAKEN.append(1)
        return super().step(model_output, timestep, sample, **more)


TAKEN: list[int] = []


def test_whether_steps_repeat_is_tried_once_a_run() -> None:
    """One step for every forecast and reflect pass, one for the first full step, and the trial."""
    pipe = DIT.build()
    pipe.scheduler = Counted(clip_sample=False)
    TAKEN.clear()
    _, report = drawn(DIT, pipe, W0)
    assert len(TAKEN) == report.forecast_passes + report.reflect_passes + 1 + 1


def test_generators_are_those_of_the_step_and_the_global_one() -> None:
    own, other = torch.Generator().manual_seed(1), torch.Generator()
    cpu, default = torch.device("cpu"), torch.default_generator
    assert noise.generators(cpu) == [default]
    assert noise.generators(cpu, {"generator": own}) == [default, own]
    assert noise.generators(cpu, (1.0, [own, own]), {"generator": other}) == [default, own, other]
    assert noise.generators(cpu, {"generator": None}) == [default]


class Holding(DDPMScheduler):
    """Draws from a generator that it holds."""

    def __init__(self) -> None:
        super().__init__(clip_sample=False)
        self.source = torch.Generator()

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor, **more: Any) -> Any:
        return super().step(model_output, timestep, sample, **{**more, "generator": self.source})


def positional(scheduler: Any, v: Tensor, t: Any, x: Tensor, source: torch.Generator) -> Tensor:
    return scheduler.step(v, t, x, source, False)[0]


def held(scheduler: Any, v: Tensor, t: Any, x: Tensor, source: torch.Generator) -> Tensor:
    return scheduler.step(v, t, x, return_dict=False)[0]


@pytest.mark.parametrize("take", [positional, held])
def test_a_generator_that_is_given_by_position_or_held_draws_the_same_again(take: Any) -> None:
    pipe = DIT.build()
    pipe.scheduler = scheduler = Holding() if take is held else DDPMScheduler(clip_sample=False)

    @torch.no_grad()
    def run(config: ZCacheConfig | None) -> tuple[Tensor, Tensor, Any]:
        source = torch.Generator().manual_seed(5)
        if take is held:
            scheduler.source = source
        x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
        with zcache.enabled(pipe, config or ZCacheConfig()) as handle:
            with handle.sampling() if config else nullcontext():
                scheduler.set_timesteps(STEPS)
                for t in scheduler.timesteps:
                    v = pipe.transformer(x, timestep=t[None], class_labels=torch.tensor([1]))
                    x = take(scheduler, v.sample[:, :4], t, x, source)
            return x, source.get_state(), handle.report()

    _, left, _ = run(None)
    forecast, _, _ = run(W0.replace(reflect=False))
    reflected, stands, report = run(W0)
    assert report.fallbacks == () and report.reflect_passes == STEPS - 1
    torch.testing.assert_close(reflected, forecast, rtol=1e-4, atol=1e-4)
    assert torch.equal(stands, left)


def test_what_only_the_trial_draws_is_put_back() -> None:
    pipe, source, drawn = DIT.build(), torch.Generator(), []

    class Fickle(DDIMScheduler):
        def step(self, model_output: Tensor, timestep: Any, sample: Tensor, **more: Any) -> Any:
            if handle.trying:
                drawn.append(torch.rand(1, generator=self.source))
            return super().step(model_output, timestep, sample, **more)

    pipe.scheduler = Fickle()
    pipe.scheduler.source = source
    with zcache.enabled(pipe, W0) as handle:
        DIT.run(pipe, generator=source.manual_seed(3))
    stands = source.get_state()
    assert handle.report().reflect_passes == STEPS - 1 and len(drawn) == 1
    pipe.scheduler = DDIMScheduler()
    DIT.run(pipe, generator=source.manual_seed(3))
    assert torch.equal(stands, source.get_state())


def test_states_come_back_after_an_exception() -> None:
    own = torch.Generator().manual_seed(1)
    before = noise.states([own])
    first = torch.rand(3, generator=own)
    after = own.get_state()
    assert noise.moved(before)
    with pytest.raises(KeyError), noise.drawn_again(before):
        assert torch.equal(torch.rand(3, generator=own), first)
        raise KeyError
    assert torch.equal(own.get_state(), after)
    noise.put_back(before)
    assert not noise.moved(before)
