"""Never wrong in silence: what a pipeline or its user may do in the middle of a run either leaves the
zig-zag exact or is said in the report."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

import zcache
from zcache import ZCacheConfig

from ..pipelines import CASES, STEPS, flux, flux_arguments, flux_transformer
from ..planning import planned

FLUX = next(case for case in CASES if case.name == "flux")
granularity = pytest.mark.parametrize("granularity", ["stack", "module", "output"])
W0 = ZCacheConfig(full_steps=(0, 4, 8, STEPS - 1), base="fora", weight=lambda j, n: 0.0, relax=None)


# ---- the latent, written into ------------------------------------------------------------------


@granularity
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


# ---- loops of our own, to do what pipelines do -------------------------------------------------


class Loop:
    """FLUX's loop, with a place for every oddity."""

    def __init__(self) -> None:
        self.pipe = flux()
        seen: dict[str, Any] = {}
        hook = self.pipe.transformer.register_forward_pre_hook(
            lambda module, args, kwargs: seen.update(kwargs), with_kwargs=True
        )
        FLUX.run(self.pipe)
        hook.remove()
        self.arguments = seen
        generator = torch.Generator().manual_seed(1)
        self.latent = torch.randn(seen["hidden_states"].shape, generator=generator)

    def predict(self, step: int, x: Tensor, t: Tensor, batch: int = 1, model: Any = None) -> Tensor:
        given = {
            name: value.repeat(batch, *[1] * (value.ndim - 1))
            if name in ("encoder_hidden_states", "pooled_projections", "guidance")
            else value
            for name, value in self.arguments.items()
        }
        given |= {"hidden_states": torch.cat([x] * batch), "timestep": t.expand(batch) / 1000}
        return (model or self.pipe.transformer)(**given)[0]

    @torch.no_grad()
    def run(
        self,
        velocity: Callable[[int, Tensor, Tensor], Tensor] | None = None,
        step: Callable[[Any, Tensor, Tensor, Tensor], Tensor] | None = None,
    ) -> Tensor:
        scheduler, x = self.pipe.scheduler, self.latent.clone()
        scheduler.set_timesteps(STEPS, mu=0.5)
        for index, t in enumerate(scheduler.timesteps):
            v = velocity(index, x, t) if velocity else self.predict(index, x, t)
            x = step(scheduler, v, t, x) if step else scheduler.step(v, t, x, return_dict=False)[0]
        return x

    def cached(self, config: ZCacheConfig, **oddities: Any) -> tuple[Tensor, Any]:
        with zcache.enabled(self.pipe, config) as handle, handle.sampling():
            x = self.run(**oddities)
        return x, handle.report()


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    yield Loop()


def guided_until(loop: Loop, last: int, model: Any = None) -> Callable[..., Tensor]:
    """Guidance in a doubled batch up to step `last`, none afterwards (a cut-off, truncated CFG)."""

    def velocity(index: int, x: Tensor, t: Tensor) -> Tensor:
        if index > last:
            return loop.predict(index, x, t)
        one, two = loop.predict(index, x, t, batch=2).chunk(2)
        return two + 2.0 * (one - two)

    return velocity


@granularity
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


@granularity
def test_another_transformer_from_some_step_on_makes_an_anchor_there(granularity: str) -> None:
    """Wan 2.2: the second transformer takes over below a noise level."""
    loop = Loop()
    torch.manual_seed(7)
    loop.pipe.transformer_2 = flux_transformer()

    def velocity(index: int, x: Tensor, t: Tensor) -> Tensor:
        return loop.predict(
            index, x, t, model=loop.pipe.transformer_2 if index > 5 else loop.pipe.transformer
        )

    plain = loop.run(velocity=velocity)
    config = ZCacheConfig(interval=4, granularity=granularity)
    x, report = loop.cached(config, velocity=velocity)
    planned = config.plan(STEPS).full_steps
    assert 6 in report.full_steps and report.full_passes <= len(planned) + 1
    assert (x - plain).abs().max() < 0.5 and report.reflect_passes > 0
    assert any("a window was not reflected" in reason for reason in report.fallbacks)


@granularity
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


def test_outputs_that_the_pipeline_writes_into_are_noticed(loop: Loop) -> None:
    def velocity(index: int, x: Tensor, t: Tensor) -> Tensor:
        return loop.predict(index, x, t).mul_(-1.0).mul_(-1.0)

    for granularity in ("stack", "output"):
        config = ZCacheConfig(interval=4, granularity=granularity)
        x, report = loop.cached(config.replace(base="fora"), velocity=velocity)
        expected, _ = loop.cached(config.replace(base="fora"))
        torch.testing.assert_close(x, expected, rtol=0, atol=1e-5)
        assert report.reflect_passes > 0


def test_not_finite_outputs_come_out_as_they_do_plainly(loop: Loop) -> None:
    def velocity(index: int, x: Tensor, t: Tensor) -> Tensor:
        one, two = loop.predict(index, x, t, batch=2).chunk(2)
        return (one + two) * (float("nan") if index == 2 else 0.5)

    x, report = loop.cached(ZCacheConfig(interval=4), velocity=velocity)
    assert torch.isnan(x).all() and torch.isnan(loop.run(velocity=velocity)).all()
    assert report.finished
