"""A run belongs to the pipeline call that began it, and to its thread. Whatever else calls the same
modules is answered as if there were no cache, and does not disturb the run."""

from __future__ import annotations

import copy
import threading
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline, FluxImg2ImgPipeline, FluxPipeline
from diffusers.callbacks import PipelineCallback
from torch import Tensor

import zcache
from zcache import ZCacheConfig
from zcache.caching import intercept

from ..pipelines import CASES, STEPS, flow_scheduler, flux, flux_transformer
from .loops import Loop

FLUX = next(case for case in CASES if case.name == "flux")
DIT = next(case for case in CASES if case.name == "dit")
CONFIG = ZCacheConfig(interval=4)
granularity = pytest.mark.parametrize("granularity", ["stack", "module", "output"])


def arguments_of(pipe: Any) -> dict[str, Any]:
    """What the pipeline hands its transformer at one step."""
    seen: dict[str, Any] = {}
    hook = pipe.transformer.register_forward_pre_hook(
        lambda module, args, kwargs: seen.update(kwargs), with_kwargs=True
    )
    FLUX.run(pipe)
    hook.remove()
    return seen


@torch.no_grad()
def direct(pipe: Any, arguments: dict[str, Any]) -> Tensor:
    return pipe.transformer(**arguments)[0]


@granularity
@pytest.mark.parametrize("how", ["interrupt", "exception", "finished"])
def test_a_direct_call_after_a_run_is_plain_however_the_run_ended(
    granularity: str, how: str
) -> None:
    pipe = flux()
    arguments = arguments_of(pipe)
    plain = direct(pipe, arguments)

    def end(pipe: Any, index: int, timestep: Any, kwargs: dict) -> dict:
        if index == 5 and how == "exception":
            raise KeyboardInterrupt
        pipe._interrupt = how == "interrupt" and index >= 5
        return {}

    with zcache.enabled(pipe, CONFIG.replace(granularity=granularity)) as handle:
        clean = FLUX.run(pipe)
        try:
            FLUX.run(pipe, callback_on_step_end=end)
        except KeyboardInterrupt:
            assert how == "exception"
        assert handle.report().finished == (how == "finished")
        assert torch.equal(direct(pipe, arguments), plain)
        assert handle._run is None
        assert torch.equal(FLUX.run(pipe), clean)


@granularity
@pytest.mark.parametrize("kind", ["function", "object"])
def test_a_call_inside_a_callback_is_plain_and_disturbs_nothing(
    granularity: str, kind: str
) -> None:
    pipe = flux()
    arguments = arguments_of(pipe)
    plain, found = direct(pipe, arguments), []

    def note(pipe: Any, index: int, timestep: Any, kwargs: dict) -> dict:
        found.append(direct(pipe, arguments))
        return kwargs

    class Note(PipelineCallback):
        @property
        def tensor_inputs(self) -> list[str]:
            return ["latents"]

        def callback_fn(self, pipe: Any, index: int, timestep: Any, kwargs: dict) -> dict:
            return note(pipe, index, timestep, kwargs)

    callback = note if kind == "function" else Note(cutoff_step_ratio=None, cutoff_step_index=1)
    with zcache.enabled(pipe, CONFIG.replace(granularity=granularity)) as handle:
        alone, walk = FLUX.run(pipe), handle.report().walk
        with_calls = FLUX.run(pipe, callback_on_step_end=callback)
        assert handle.report().walk == walk
    assert len(found) == STEPS and all(torch.equal(each, plain) for each in found)
    assert torch.equal(with_calls, alone)
    assert not intercept.is_armed(callback, "__call__")


def test_a_call_inside_on_pass_is_plain() -> None:
    pipe = flux()
    arguments = arguments_of(pipe)
    plain, found = direct(pipe, arguments), []
    with zcache.enabled(pipe, CONFIG) as handle:
        alone = FLUX.run(pipe)
        handle.on_pass = lambda *_: found.append(direct(pipe, arguments))
        assert torch.equal(FLUX.run(pipe), alone)
    assert len(found) > STEPS and all(torch.equal(each, plain) for each in found)


def sibling_of(pipe: Any, scheduler: Any = None) -> FluxPipeline:
    parts = {**pipe.components, "scheduler": scheduler or pipe.scheduler}
    twin = FluxPipeline(**parts)
    twin.set_progress_bar_config(disable=True)
    return twin


@granularity
def test_another_pipeline_with_the_same_transformer_runs_plainly_inside_a_callback(
    granularity: str,
) -> None:
    pipe = flux()
    other = sibling_of(pipe, flow_scheduler())
    plain, found = FLUX.run(other), []

    def run_other(pipe: Any, index: int, timestep: Any, kwargs: dict) -> dict:
        if index in (1, 2, 6):
            found.append(FLUX.run(other))
        return {}

    with zcache.enabled(pipe, CONFIG.replace(granularity=granularity)):
        alone = FLUX.run(pipe)
        assert torch.equal(FLUX.run(pipe, callback_on_step_end=run_other), alone)
    assert len(found) == 3 and all(torch.equal(each, plain) for each in found)


@granularity
def test_pipelines_that_share_everything_work_side_by_side(granularity: str) -> None:
    """nunchaku #437, and DiffusionPipeline.from_pipe: each has its own settings, or none."""
    pipe = flux()
    twin, third = sibling_of(pipe), FluxImg2ImgPipeline.from_pipe(pipe)
    assert isinstance(third, DiffusionPipeline) and third.transformer is pipe.transformer
    plain = FLUX.run(pipe)
    configs = [ZCacheConfig(interval=n, granularity=granularity) for n in (4, 3)]
    expected = []
    for config in configs:
        with zcache.enabled(pipe, config):
            expected.append(FLUX.run(pipe))
    with zcache.enabled(pipe, configs[0]) as first:
        assert torch.equal(FLUX.run(twin), plain)
        with zcache.enabled(twin, configs[1]) as second:
            assert torch.equal(FLUX.run(pipe), expected[0])
            assert torch.equal(FLUX.run(twin), expected[1])
            assert first.report().full_passes < second.report().full_passes
        assert torch.equal(FLUX.run(twin), plain)
        assert torch.equal(FLUX.run(pipe), expected[0])
    assert torch.equal(FLUX.run(pipe), plain)


@granularity
def test_a_call_from_another_thread_is_plain_and_disturbs_nothing(granularity: str) -> None:
    pipe = flux()
    arguments = arguments_of(pipe)
    plain, found = direct(pipe, arguments), []

    def elsewhere(step: int, kind: str, num_steps: int) -> None:
        thread = threading.Thread(target=lambda: found.append(direct(pipe, arguments)))
        thread.start()
        waiting.append(thread)

    waiting: list[threading.Thread] = []
    with zcache.enabled(pipe, CONFIG.replace(granularity=granularity)) as handle:
        alone = FLUX.run(pipe)
        handle.on_pass = elsewhere
        assert torch.equal(FLUX.run(pipe), alone)
        for thread in waiting:
            thread.join()
    assert len(found) == len(waiting) > STEPS
    assert all(torch.equal(each, plain) for each in found)


@granularity
def test_two_pipelines_that_share_a_transformer_run_in_two_threads(granularity: str) -> None:
    pipe = flux()
    other = sibling_of(pipe, flow_scheduler())
    expected, found = {}, {}
    for each, interval in ((pipe, 4), (other, 3)):
        with zcache.enabled(each, ZCacheConfig(interval=interval, granularity=granularity)):
            expected[id(each)] = FLUX.run(each)

    def run(each: Any) -> None:
        found[id(each)] = [FLUX.run(each) for _ in range(3)]

    with (
        zcache.enabled(pipe, ZCacheConfig(interval=4, granularity=granularity)),
        zcache.enabled(other, ZCacheConfig(interval=3, granularity=granularity)),
    ):
        threads = [threading.Thread(target=run, args=(each,)) for each in (pipe, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for key, outputs in found.items():
        assert all(torch.equal(output, expected[key]) for output in outputs)


def test_a_loop_of_ones_own_is_a_run_inside_sampling() -> None:
    """FLUX's loop written out: plain outside, and as the pipeline's own inside."""
    pipe = flux()
    arguments = arguments_of(pipe)
    latent = torch.randn(
        arguments["hidden_states"].shape, generator=torch.Generator().manual_seed(1)
    )

    @torch.no_grad()
    def loop() -> Tensor:
        x = latent
        pipe.scheduler.set_timesteps(STEPS, mu=0.5)
        for t in pipe.scheduler.timesteps:
            timestep = t.expand(1) / 1000
            v = pipe.transformer(**{**arguments, "hidden_states": x, "timestep": timestep})[0]
            x = pipe.scheduler.step(v, t, x, return_dict=False)[0]
        return x

    plain = loop()
    with zcache.enabled(pipe, CONFIG) as handle:
        assert torch.equal(loop(), plain)
        with handle.sampling():
            cached = loop()
        report = handle.report()
        assert report.finished and report.reflect_passes > 0 and report.fallbacks == ()
        assert 0 < (cached - plain).abs().max() < 0.5
        assert torch.equal(loop(), plain)


def test_a_call_of_the_pipeline_inside_sampling_is_the_run() -> None:
    pipe = flux()
    with zcache.enabled(pipe, CONFIG) as handle:
        wanted = FLUX.run(pipe)
        walk = handle.report().walk
        with handle.sampling():
            assert torch.equal(FLUX.run(pipe), wanted)
        assert handle.report().walk == walk and handle.report().fallbacks == ()
        with handle.sampling():
            for _ in range(2):
                assert torch.equal(FLUX.run(pipe), wanted)
        with handle.sampling():
            with pytest.raises(KeyError):
                FLUX.run(pipe, callback_on_step_end=lambda *_: {}["none"])
            assert torch.equal(FLUX.run(pipe), wanted)


def test_a_call_of_the_pipeline_within_a_loops_run_is_plain() -> None:
    loop = Loop()
    plain = FLUX.run(loop.pipe)

    def velocity(index: int, x: Tensor, t: Tensor) -> Tensor:
        if index == 3:
            stands = copy.deepcopy(vars(loop.pipe.scheduler))
            assert torch.equal(FLUX.run(loop.pipe), plain)
            vars(loop.pipe.scheduler).update(stands)
        return loop.predict(index, x, t)

    config = ZCacheConfig(interval=4)
    wanted, _ = loop.cached(config)
    found, report = loop.cached(config, velocity=velocity)
    assert torch.allclose(found, wanted, atol=1e-5) and report.forecast_passes > 0


def test_a_replaced_scheduler_is_followed() -> None:
    pipe = flux()
    with zcache.enabled(pipe, CONFIG) as handle:
        expected = FLUX.run(pipe)
        old, pipe.scheduler = pipe.scheduler, flow_scheduler()
        assert torch.equal(FLUX.run(pipe), expected)
        assert handle.report().reflect_passes > 0 and handle.report().fallbacks == ()
        assert not intercept.is_armed(old, "step")
    assert not intercept.is_armed(pipe.scheduler, "step")


@granularity
def test_a_replaced_transformer_is_followed(granularity: str) -> None:
    pipe = flux()
    torch.manual_seed(1)
    other = flux_transformer()
    for parameter in other.parameters():
        parameter.data.mul_(1.1)
    with zcache.enabled(pipe, CONFIG.replace(granularity=granularity)) as handle:
        first = FLUX.run(pipe)
        old, pipe.transformer = pipe.transformer, other
        second = FLUX.run(pipe)
        assert handle.report().reflect_passes > 0 and handle.report().fallbacks == ()
        assert not torch.equal(first, second)
        assert not intercept.is_armed(old, "__call__")
    with zcache.enabled(pipe, CONFIG.replace(granularity=granularity)):
        assert torch.equal(FLUX.run(pipe), second)


def test_a_scheduler_that_cannot_be_followed_means_full_computation_and_is_said() -> None:
    from diffusers import FlowMatchHeunDiscreteScheduler

    pipe = DIT.build()
    with zcache.enabled(pipe, CONFIG) as handle:
        pipe.scheduler = FlowMatchHeunDiscreteScheduler()
        plainly = handle._pipe()
        with pytest.raises(Exception), handle.sampling():  # noqa: B017  the pipeline's own trouble
            DIT.run(plainly, num_inference_steps="x")
        assert any("order 2" in reason for reason in handle.report().fallbacks)


def test_an_unknown_transformer_put_in_later_means_full_computation_and_is_said() -> None:
    class Unheard(type(flux_transformer())):
        """No adapter describes it: its forward is its own."""

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return super().forward(*args, **kwargs)

    pipe = flux()
    with zcache.enabled(pipe, CONFIG) as handle:
        pipe.transformer = flux_transformer()
        pipe.transformer.__class__ = Unheard
        found = FLUX.run(pipe)
        assert any("does not know Unheard" in reason for reason in handle.report().fallbacks)
    assert torch.equal(found, FLUX.run(pipe))
