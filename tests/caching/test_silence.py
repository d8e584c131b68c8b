"""Never wrong in silence: what a pipeline or its user may do in the middle of a run either leaves the
zig-zag exact or is said in the report."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import zcache
from zcache import ZCacheConfig

from ..pipelines import STEPS, flux_transformer
from ..planning import planned
from .loops import FLUX, Loop, every_granularity, guided_until


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    yield Loop()


@every_granularity
@pytest.mark.parametrize("reflect", [True, False])
@pytest.mark.parametrize("last", [2, 4, 5, 7])
def test_a_batch_that_changes_makes_an_anchor_there(
    loop: Loop, granularity: str, reflect: bool, last: int
) -> None:
    config = ZCacheConfig(interval=4, granularity=granularity, reflect=reflect)
    plain = loop.run(velocity=guided_until(loop, last))
    x, report = loop.cached(config, velocity=guided_until(loop, last))
    assert x.shape == plain.shape and (x - plain).abs().max() < 0.5
    assert last + 1 in report.full_steps
    assert report.full_passes <= len(config.plan(STEPS).full_steps) + 1
    assert report.finished and (report.reflect_passes > 0) == reflect
    if last + 1 not in planned(config, loop.pipe, STEPS).full_steps:
        assert any(f"step {last + 1} was computed in full" in r for r in report.fallbacks)


@every_granularity
def test_a_call_in_another_mode_makes_an_anchor_there(loop: Loop, granularity: str) -> None:
    """Qwen-Image 2.1 fills a cache of keys at its first step and reads other tokens from then on."""

    def velocity(index: int, x: Tensor, t: Tensor) -> Tensor:
        return loop.predict(index, x, t, controlnet_blocks_repeat=index > 4)

    config = ZCacheConfig(interval=4, granularity=granularity)
    x, report = loop.cached(config, velocity=velocity)
    assert torch.isfinite(x).all() and 5 in report.full_steps
    assert report.full_passes <= len(config.plan(STEPS).full_steps) + 1
    assert any("step 5 was computed in full" in reason for reason in report.fallbacks)


@every_granularity
def test_another_transformer_from_some_step_on_makes_an_anchor_there(granularity: str) -> None:
    """Wan 2.2: the second transformer takes over below a noise level."""
    loop = Loop()
    torch.manual_seed(7)
    loop.pipe.transformer_2 = flux_transformer()

    def velocity(index: int, x: Tensor, t: Tensor) -> Tensor:
        return loop.predict(
            index, x, t, model=loop.pipe.transformer_2 if index > 4 else loop.pipe.transformer
        )

    plain = loop.run(velocity=velocity)
    config = ZCacheConfig(interval=4, granularity=granularity)
    x, report = loop.cached(config, velocity=velocity)
    planned = config.plan(STEPS).full_steps
    assert 5 in report.full_steps and report.full_passes <= len(planned) + 1
    assert (x - plain).abs().max() < 0.5 and report.reflect_passes > 0
    assert any("a window was not reflected" in reason for reason in report.fallbacks)


@every_granularity
def test_a_second_call_that_begins_in_mid_run_is_said(loop: Loop, granularity: str) -> None:
    """A guidance interval: two calls for some steps, one for the others."""

    def velocity(index: int, x: Tensor, t: Tensor) -> Tensor:
        one = loop.predict(index, x, t)
        if not 5 <= index <= 9:
            return one
        return one + 0.5 * (one - loop.predict(index, x, t))

    config = ZCacheConfig(interval=4, granularity=granularity)
    plain = loop.run(velocity=velocity)
    x, report = loop.cached(config, velocity=velocity)
    assert (x - plain).abs().max() < 0.5 and report.finished
    assert report.full_computations <= report.full_passes + 4
    assert any("began inside a window" in reason for reason in report.fallbacks)


def test_guidance_that_depends_on_what_it_adds_up_is_said(loop: Loop) -> None:
    """Scaled by nothing that is known of: the factors of another step are then not those of this one."""

    def velocity(index: int, x: Tensor, t: Tensor) -> Tensor:
        c, u = loop.predict(index, x, t), loop.predict(index, x * 0.9, t)
        v = u + 3.0 * (c - u)
        return v / (1 + v.abs().mean())

    _, report = loop.cached(ZCacheConfig(interval=4, granularity="output"), velocity=velocity)
    assert report.reflect_passes > 0
    assert any("to first order" in reason for reason in report.fallbacks)


def test_guidance_that_changes_from_step_to_step_is_found_anew(loop: Loop) -> None:
    """The w0 law cannot see it, a replay with other features can: by hand, with each step's scale."""
    scales = [1.0 + index for index in range(STEPS)]

    def velocity(index: int, x: Tensor, t: Tensor) -> Tensor:
        one = loop.predict(index, x, t)
        return one * 0.5 + 0.1 * scales[index] * loop.predict(index, x * 0.9, t)

    config = ZCacheConfig(
        full_steps=(0, 5, STEPS - 1),
        granularity="output",
        base="taylorseer",
        relax=None,
        weight="logarithmic",
    )
    x, report = loop.cached(config, velocity=velocity)
    assert report.fallbacks == () and report.reflect_passes == STEPS - 1
    torch.testing.assert_close(x, replayed(loop, config, scales), rtol=0, atol=1e-5)


@torch.no_grad()
def replayed(loop: Loop, config: ZCacheConfig, scales: list[float]) -> Tensor:
    """The zig-zag at output granularity over two calls, written out; order 1, logarithmic weight."""
    scheduler, x, found = loop.pipe.scheduler, loop.latent, {}
    scheduler.set_timesteps(STEPS, mu=0.5)
    times, sigmas = scheduler.timesteps, scheduler.sigmas.tolist()

    def full(step: int, x: Tensor) -> Tensor:
        outs = [loop.predict(step, x * factor, times[step]) for factor in (1.0, 0.9)]
        return torch.stack(outs)

    def advance(step: int, outs: Tensor, x: Tensor) -> Tensor:
        v = outs[0] * 0.5 + 0.1 * scales[step] * outs[1]
        return x + (sigmas[step + 1] - sigmas[step]) * v

    def line(known: list[int], step: int) -> Tensor:
        if len(known) == 1:
            return found[known[0]]
        a, b = known[-2:]
        return found[b] + (found[b] - found[a]) * (step - b) / (b - a)

    full_steps = list(config.full_steps)
    found[0] = full(0, x)
    x = advance(0, found[0], x)
    for index, stop in enumerate(full_steps[1:], start=1):
        past, start, begin = full_steps[:index], full_steps[index - 1], x
        for step in range(start + 1, stop):
            x = advance(step, line(past, step), x)
        found[stop] = full(stop, x)
        x = begin
        for step in range(start + 1, stop):
            w = math.log(step - start + 1) / math.log(stop - start + 1)
            outs = (1 - w) * line(past, step) + w * line([*past, stop], step)
            x = advance(step, outs, x)
        x = advance(stop, found[stop], x)
    return x


def test_steps_taken_elsewhere_are_noticed_and_nothing_piles_up(loop: Loop) -> None:
    """SkyReels-V2 diffusion forcing: a copied scheduler takes every step."""
    twin = copy.deepcopy(loop.pipe.scheduler)
    twin.set_timesteps(STEPS, mu=0.5)

    def step(scheduler: Any, v: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return twin.step(v, t, x, return_dict=False)[0]

    plain = loop.run()
    held: list[int] = []

    def velocity(index: int, x: Tensor, t: Tensor) -> Tensor:
        held.append(len(handle._run.anchors) if handle._run else 0)
        return torch.stack([loop.predict(index, x, t) for _ in range(3)]).mean(0)

    with zcache.enabled(loop.pipe, ZCacheConfig(interval=4)) as handle, handle.sampling():
        x = loop.run(velocity=velocity, step=step)
    torch.testing.assert_close(x, plain, rtol=0, atol=1e-5)
    assert any("takes its steps elsewhere" in reason for reason in handle.report().fallbacks)
    assert max(held) <= 16 and held[-1] == 0


@pytest.mark.parametrize("calls", [16, 17])
def test_more_calls_for_a_step_than_are_followed_are_said_with_their_limit(
    loop: Loop, calls: int
) -> None:
    def velocity(index: int, x: Tensor, t: Tensor) -> Tensor:
        return torch.stack([loop.predict(index, x, t) for _ in range(calls if index > 1 else 1)])[0]

    _, report = loop.cached(ZCacheConfig(interval=4, granularity="output"), velocity=velocity)
    said = [reason for reason in report.fallbacks if "within 16 denoiser calls" in reason]
    assert report.finished == (calls == 16) and len(said) == (calls == 17)
    if said:
        assert said[0].startswith("from step 2 on everything was computed in full")
        assert "makes more calls for a step: let it make 16 or fewer" in said[0]


def test_two_steps_for_each_pass_are_forecast_but_not_reflected(loop: Loop) -> None:
    """Cosmos-1: a first `step` only to read the denoised prediction."""

    def step(scheduler: Any, v: Tensor, t: Tensor, x: Tensor) -> Tensor:
        scheduler.step(v, t, x)
        scheduler._step_index -= 1
        return scheduler.step(v, t, x, return_dict=False)[0]

    config = ZCacheConfig(interval=4)
    x, report = loop.cached(config, step=step)
    assert torch.equal(x, loop.cached(config.replace(reflect=False))[0])
    assert report.reflect_passes == 0 and report.forecast_passes > 0
    assert "more than once for each pass" in report.fallbacks[0]


def test_a_loop_that_was_told_its_steps_outside_of_the_run_is_plain_and_said(loop: Loop) -> None:
    plain = loop.run()
    scheduler, x = loop.pipe.scheduler, loop.latent.clone()
    scheduler.set_timesteps(STEPS, mu=0.5)
    with torch.no_grad(), zcache.enabled(loop.pipe, ZCacheConfig(interval=4)) as handle:
        with handle.sampling():
            for index, t in enumerate(scheduler.timesteps):
                x = scheduler.step(loop.predict(index, x, t), t, x, return_dict=False)[0]
        assert torch.equal(x, plain)
        (said,) = handle.report().fallbacks
        assert "set_timesteps" in said and "`sampling()`" in said
        with handle.sampling():
            loop.run()
        assert handle.report().fallbacks == ()


def test_a_run_that_is_begun_anew_says_where_the_first_ended(loop: Loop) -> None:
    """A pipeline that tells its scheduler the steps twice: what the first run lacks stays in the report."""
    scheduler = loop.pipe.scheduler
    with (
        torch.no_grad(),
        zcache.enabled(loop.pipe, ZCacheConfig(interval=4)) as handle,
        handle.sampling(),
    ):
        scheduler.set_timesteps(STEPS, mu=0.5)
        for index, t in enumerate(scheduler.timesteps[:3]):
            scheduler.step(loop.predict(index, loop.latent, t), t, loop.latent)
        loop.run()
    assert f"the run ended after 3 of {STEPS} steps" in handle.report().fallbacks


def test_a_transformer_that_is_replaced_in_the_run_is_named(loop: Loop) -> None:
    other = Loop().pipe.transformer

    def velocity(index: int, x: Tensor, t: Tensor) -> Tensor:
        if index == 6:
            loop.pipe.transformer = other
        return loop.predict(index, x, t)

    _, report = loop.cached(ZCacheConfig(interval=4), velocity=velocity)
    assert any("transformer was replaced in the run" in reason for reason in report.fallbacks)
    assert not any("more than once" in reason for reason in report.fallbacks)


def test_a_second_latent_with_a_scheduler_of_its_own_stops_reflection(loop: Loop) -> None:
    """LTX-2's audio: the copy of a scheduler takes a second latent along, in the same pipeline call."""
    pipe = loop.pipe
    original = type(pipe).__call__

    def with_audio(self: Any, *args: Any, **kwargs: Any) -> Any:
        audio, sound = None, torch.zeros(1, 4, 4)
        step = self.scheduler.step

        def both(v: Tensor, t: Tensor, x: Tensor, **more: Any) -> Any:
            nonlocal audio, sound
            if audio is None:
                audio = copy.deepcopy(self.scheduler)
            result = step(v, t, x, **more)
            sound = type(audio).step(audio, torch.ones_like(sound), t, sound).prev_sample
            return result

        self.scheduler.step = both
        try:
            return original(self, *args, **kwargs)
        finally:
            del self.scheduler.step

    with zcache.enabled(pipe, ZCacheConfig(interval=4, reflect=False)):
        forecast = FLUX.run(pipe)
    pipe.__class__ = type("WithAudio", (type(pipe),), {"__call__": with_audio})
    try:
        with zcache.enabled(pipe, ZCacheConfig(interval=4)) as handle:
            found = FLUX.run(pipe)
    finally:
        pipe.__class__ = pipe.__class__.__bases__[0]
    assert any("a second scheduler" in reason for reason in handle.report().fallbacks)
    assert handle.report().reflect_passes == 0
    assert torch.equal(found, forecast)


def test_not_finite_outputs_come_out_as_they_do_plainly(loop: Loop) -> None:
    def velocity(index: int, x: Tensor, t: Tensor) -> Tensor:
        one, two = loop.predict(index, x, t, batch=2).chunk(2)
        return (one + two) * (float("nan") if index == 2 else 0.5)

    x, report = loop.cached(ZCacheConfig(interval=4), velocity=velocity)
    assert torch.isnan(x).all() and torch.isnan(loop.run(velocity=velocity)).all()
    assert report.finished
