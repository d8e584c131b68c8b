"""What is read from a scheduler: noise levels, and how many steps a run will have."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

import zcache
from zcache import ZCacheConfig
from zcache.caching.run import Run
from zcache.caching.scheduler import noise_levels
from zcache.caching.times import flow_times

from ..pipelines import CASES, STEPS, dit, dit_arguments, flow_scheduler
from .loops import Loop

IMG2IMG = next(case for case in CASES if case.name == "flux-img2img")


def test_a_scheduler_without_levels_has_none() -> None:
    class Bare:
        timesteps = torch.arange(3)

    assert noise_levels(Bare()) is None


def test_inverted_sigmas_count_from_the_noise_on() -> None:
    """As Mochi ships them: linear at first, quadratic then, and inverted."""
    sigmas = [1.0, 0.9, 0.6]
    upright, inverted = (FlowMatchEulerDiscreteScheduler(invert_sigmas=i) for i in (False, True))
    for scheduler in (upright, inverted):
        scheduler.set_timesteps(sigmas=sigmas)
    assert inverted.sigmas[:3].tolist() == pytest.approx([0.0, 0.1, 0.4])
    assert noise_levels(upright) == pytest.approx(sigmas)
    assert noise_levels(inverted) == pytest.approx(sigmas)


def test_before_its_first_step_a_run_counts_from_where_the_scheduler_begins() -> None:
    scheduler = flow_scheduler()
    scheduler.set_timesteps(STEPS, mu=1.0)
    assert Run(ZCacheConfig(), scheduler).num_steps == STEPS
    scheduler.set_begin_index(4)
    assert Run(ZCacheConfig(), scheduler).num_steps == STEPS - 4


def test_image_to_image_takes_its_levels_from_where_it_begins() -> None:
    """At strength 0.7 of 12 steps int(12 - 8.4) = 3 are left out: step k is the schedule's k + 3, of which
    the sigma is s a / (1 + (s - 1) a) at the even a = 1 - (k + 3) / 12, s = exp(mu), of 64 tokens."""
    pipe, told = IMG2IMG.build(), []
    config = ZCacheConfig(full_steps=(0, 4, 8), relax="sigma")
    with zcache.enabled(pipe, config) as handle:
        handle.on_pass = lambda step, kind, num_steps: told.append(num_steps)
        IMG2IMG.run(pipe)
    shift = math.exp(0.5 + (64 - 256) * (1.15 - 0.5) / (4096 - 256))
    even = [1 - (k + 3) / STEPS for k in range(9)]
    sigmas = [shift * a / (1 + (shift - 1) * a) for a in even]
    assert set(told) == {9}
    wanted = {
        stop: 2 * sigmas[stop] / (sigmas[start] + sigmas[stop]) for start, stop in ((0, 4), (4, 8))
    }
    assert handle.report().relaxation == pytest.approx(wanted)


def test_a_terminal_snr_of_zero_is_the_time_one_and_gives_finite_pictures() -> None:
    """Rescaled betas leave no signal at the last training step: sigma / alpha is infinite there, and a share
    of infinity is no number."""
    pipe = dit()
    pipe.scheduler = DDIMScheduler(
        rescale_betas_zero_snr=True, timestep_spacing="trailing", prediction_type="v_prediction"
    )
    pipe.scheduler.set_timesteps(STEPS)
    times = flow_times(pipe.scheduler)
    assert noise_levels(pipe.scheduler)[0] == math.inf
    assert times[0] == 1.0 and times == sorted(times, reverse=True)

    for granularity in ("stack", "output"):
        with zcache.enabled(pipe, ZCacheConfig(interval=4, granularity=granularity)) as handle:
            image = pipe(**dit_arguments(STEPS), return_dict=False)[0]
        report = handle.report()
        assert torch.isfinite(torch.as_tensor(image)).all()
        assert report.relaxation and all(0 < kept <= 1 for kept in report.relaxation.values())
        assert report.fallbacks == ()


class Equal(FlowMatchEulerDiscreteScheduler):
    """One that equals every other, and so has no hash."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FlowMatchEulerDiscreteScheduler)

    __hash__ = None  # type: ignore[assignment]


def test_a_scheduler_is_told_from_another_that_equals_it() -> None:
    case = next(case for case in CASES if case.name == "flux")
    pipe, other = case.build(), case.build()
    plain = case.run(pipe)
    with zcache.enabled(pipe) as handle:
        wanted = case.run(pipe)
    pipe.scheduler, other.scheduler = (Equal.from_config(pipe.scheduler.config) for _ in range(2))
    with zcache.enabled(pipe) as handle:
        assert torch.equal(case.run(pipe), wanted)
        assert handle.report().reflect_passes > 0
        assert torch.equal(case.run(other), plain)


class Euler:
    """No scheduler of diffusers: it has no `config`."""

    def set_timesteps(self, count: int, mu: float | None = None) -> None:
        self.sigmas = torch.linspace(1, 0, count + 1)
        self.timesteps, self.index = self.sigmas[:-1] * 1000, 0

    def step(self, model_output: Any, timestep: Any, sample: Any, return_dict: bool = True) -> Any:
        moved = sample + self.sigmas.diff()[self.index] * model_output
        self.index += 1
        return (moved,)


def test_a_scheduler_without_config_is_reflected() -> None:
    loop = Loop()
    loop.pipe.scheduler = Euler()
    plain = loop.run()
    x, report = loop.cached(ZCacheConfig(interval=4))
    assert report.reflect_passes > 0 and report.fallbacks == ()
    assert 0 < (x - plain).abs().max() < 0.5
