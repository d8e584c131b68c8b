"""The door: what enable refuses, that a refusal changes nothing, and what it lives with."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchHeunDiscreteScheduler,
    FluxTransformer2DModel,
    TaylorSeerCacheConfig,
    UniPCMultistepScheduler,
)

import zcache
from zcache import AlreadyEnabledError, UnsupportedPipelineError, ZCacheConfig
from zcache.caching import intercept

from ..pipelines import BY_NAME, STEPS, dit, flux

FLUX, DIT = BY_NAME["flux"], BY_NAME["dit"]


def assert_untouched(pipe: Any) -> None:
    assert not intercept.is_armed(pipe.scheduler, "step")
    assert not intercept.is_armed(pipe.transformer, "__call__")
    assert "__call__" not in vars(type(pipe.transformer))
    zcache.enable(pipe)
    zcache.disable(pipe)


def test_enabling_twice_is_refused() -> None:
    pipe = flux()
    with zcache.enabled(pipe), pytest.raises(AlreadyEnabledError, match=r"zcache\.disable"):
        zcache.enable(pipe)
    assert_untouched(pipe)


def test_disabling_without_enabling_is_refused() -> None:
    with pytest.raises(zcache.NotEnabledError, match=r"zcache\.enable"):
        zcache.disable(flux())


@pytest.mark.parametrize("wrong", [None, "a", 5, {}, [dit]])
def test_what_is_no_pipeline_has_no_cache(wrong: Any) -> None:
    said = f"{type(wrong).__name__} has no zcache; call zcache.enable first"
    with pytest.raises(zcache.NotEnabledError, match=said):
        zcache.disable(wrong)


def test_another_librarys_cache_is_refused() -> None:
    pipe = flux()
    pipe.transformer.enable_cache(TaylorSeerCacheConfig())
    with pytest.raises(AlreadyEnabledError, match="disable_cache"):
        zcache.enable(pipe)
    pipe.transformer.disable_cache()
    assert_untouched(pipe)


def test_another_librarys_cache_that_comes_later_is_refused_at_the_call() -> None:
    pipe = flux()
    plain = FLUX.run(pipe)
    with zcache.enabled(pipe, ZCacheConfig(interval=4)) as handle:
        cached = FLUX.run(pipe)
        pipe.transformer.enable_cache(TaylorSeerCacheConfig())
        with pytest.raises(AlreadyEnabledError, match="disable_cache"):
            FLUX.run(pipe)
        pipe.transformer.disable_cache()
        assert torch.equal(FLUX.run(pipe), cached) and handle.report().fallbacks == ()
    assert torch.equal(FLUX.run(pipe), plain)


def test_settings_of_a_handle_cannot_be_half_changed() -> None:
    pipe = flux()
    with zcache.enabled(pipe, ZCacheConfig(interval=4)) as handle:
        with pytest.raises(AttributeError):
            handle.config = ZCacheConfig(interval=4, granularity="module")  # type: ignore[misc]
        assert handle.config == ZCacheConfig(interval=4)


@pytest.mark.parametrize("wrong", [{}, "fast", 5])
def test_settings_of_another_kind_are_refused(wrong: Any) -> None:
    pipe = flux()
    with pytest.raises(zcache.ConfigError, match="give a ZCacheConfig or a Profile"):
        zcache.enable(pipe, wrong)
    assert_untouched(pipe)


def test_cache_dit_is_refused() -> None:
    pipe = flux()
    pipe._is_cached = True
    with pytest.raises(AlreadyEnabledError, match="cache_dit"):
        zcache.enable(pipe)


def test_a_pipeline_without_a_transformer_is_refused() -> None:
    pipe = flux()
    pipe.transformer = None
    with pytest.raises(UnsupportedPipelineError, match="FluxPipeline has no transformer"):
        zcache.enable(pipe)
    with pytest.raises(UnsupportedPipelineError, match="object has no transformer"):
        zcache.enable(object())


class Unheard(FluxTransformer2DModel):
    """A transformer class that no adapter describes: what its forward does nobody knows."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return super().forward(*args, **kwargs)


def test_an_unknown_transformer_needs_output_granularity() -> None:
    pipe = flux()
    pipe.transformer.__class__ = Unheard
    with pytest.raises(UnsupportedPipelineError, match=r"Unheard.*granularity='output'"):
        zcache.enable(pipe)
    with zcache.enabled(pipe, ZCacheConfig(interval=4, granularity="output")) as handle:
        FLUX.run(pipe)
    assert handle.report().reflect_passes > 0 and handle.report().fallbacks == ()


class NoScheduler:
    """Not a scheduler at all."""


@pytest.mark.parametrize(
    ("scheduler", "reason"),
    [
        (FlowMatchHeunDiscreteScheduler(), "order 2"),
        (NoScheduler(), "set_timesteps"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_a_scheduler_that_cannot_go_back_is_refused(scheduler: Any, reason: str) -> None:
    pipe = dit()
    pipe.scheduler = scheduler
    with pytest.raises(UnsupportedPipelineError, match=reason):
        zcache.enable(pipe)
    assert "__call__" not in vars(type(pipe.transformer))


@pytest.mark.parametrize(
    "scheduler",
    [
        UniPCMultistepScheduler(),
        UniPCMultistepScheduler(solver_order=3),
        DPMSolverMultistepScheduler(),
        DPMSolverMultistepScheduler(solver_order=3, use_karras_sigmas=True),
        DDIMScheduler(prediction_type="v_prediction"),
    ],
    ids=lambda s: f"{type(s).__name__}",
)
def test_multistep_schedulers_are_taken_back_exactly(scheduler: Any) -> None:
    """With features that are all equal, a replay lands where the first pass did: the history came
    back too."""
    pipe = dit()
    pipe.scheduler = scheduler
    outputs = []
    for reflect in (True, False):
        config = ZCacheConfig(
            full_steps=[0, 5, STEPS - 1], base="fora", reflect=reflect, weight=lambda j, n: 0.0
        )
        config = config.replace(granularity="output", relax=None)
        with zcache.enabled(pipe, config) as handle:
            outputs.append(DIT.run(pipe))
        assert handle.report().fallbacks == ()
    torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=2e-6)


def test_an_interrupt_leaves_the_next_run_clean() -> None:
    pipe = flux()

    def stop(pipe: Any, index: int, timestep: Any, kwargs: dict) -> dict:
        pipe._interrupt = index >= 5
        return {}

    with zcache.enabled(pipe, ZCacheConfig(interval=4)) as handle:
        clean = FLUX.run(pipe)
        FLUX.run(pipe, callback_on_step_end=stop)
        assert not handle.report().finished
        assert torch.equal(clean, FLUX.run(pipe))


def test_an_edit_between_steps_is_carried_through_the_replay() -> None:
    """A callback that shifts the latent by a constant at a cached step moves the result by about as
    much as it does without a cache."""
    pipe = flux()

    def shift(pipe: Any, index: int, timestep: Any, kwargs: dict) -> dict:
        return {"latents": kwargs["latents"] + 0.1} if index == 2 else {}

    effect = []
    for interval in (1, 4):
        with zcache.enabled(pipe, ZCacheConfig(interval=interval, relax=None)):
            effect.append(FLUX.run(pipe, callback_on_step_end=shift) - FLUX.run(pipe))
    torch.testing.assert_close(effect[0], effect[1], rtol=0, atol=1e-2)
    assert effect[1].mean() > 0.05


def test_a_dropped_pipeline_is_not_kept_alive_by_its_cache() -> None:
    pipe = flux()
    zcache.enable(pipe, ZCacheConfig(interval=4))
    FLUX.run(pipe)
    alive = [weakref.ref(pipe), weakref.ref(pipe.transformer), weakref.ref(pipe.scheduler)]
    del pipe
    gc.collect()
    assert [reference() for reference in alive] == [None, None, None]


def test_different_step_counts_follow_each_other() -> None:
    pipe = flux()
    with zcache.enabled(pipe, ZCacheConfig(interval=4)) as handle:
        first = FLUX.run(pipe, steps=12)
        assert handle.report().num_steps == 12
        FLUX.run(pipe, steps=7)
        assert handle.report().num_steps == 7
        assert torch.equal(first, FLUX.run(pipe, steps=12))


def test_the_denoiser_called_outside_a_run_is_plain() -> None:
    pipe = flux()
    seen = {}
    hook = pipe.transformer.register_forward_pre_hook(
        lambda module, args, kwargs: seen.update(kwargs), with_kwargs=True
    )
    FLUX.run(pipe)
    hook.remove()
    with torch.no_grad():
        plain = pipe.transformer(**seen)[0]
        with zcache.enabled(pipe, ZCacheConfig(interval=4)):
            assert torch.equal(plain, pipe.transformer(**seen)[0])
            FLUX.run(pipe)
            assert torch.equal(plain, pipe.transformer(**seen)[0])


def test_enabled_models_can_be_copied_and_pickled() -> None:
    pipe = flux()
    with zcache.enabled(pipe, ZCacheConfig(interval=4)):
        for twin in (copy.deepcopy(pipe.transformer), pickle.loads(pickle.dumps(pipe.transformer))):
            assert not intercept.is_armed(twin, "__call__")
        assert type(pickle.loads(pickle.dumps(pipe.scheduler))) is type(pipe.scheduler)


@pytest.mark.parametrize("granularity", ["stack", "module", "output"])
def test_half_precision_stays_close_to_single(granularity: str) -> None:
    single, half = flux(), flux()
    half.transformer.to(torch.bfloat16)
    arguments = {
        key: value.to(torch.bfloat16)
        if torch.is_tensor(value) and value.is_floating_point()
        else value
        for key, value in FLUX.arguments(STEPS).items()
    }
    with zcache.enabled(single, ZCacheConfig(interval=4, granularity=granularity)):
        expected = FLUX.run(single)
    with zcache.enabled(half, ZCacheConfig(interval=4, granularity=granularity)):
        actual = FLUX.run(half, **arguments)
    assert actual.dtype == torch.bfloat16
    # Two plain runs differ by as much: bfloat16 has 8 bits of mantissa, over 12 steps.
    torch.testing.assert_close(actual.float(), expected, rtol=0, atol=0.1)


def test_model_cpu_offload_hooks_stay_in_force() -> None:
    """accelerate replaces `forward` by its hook; cached passes go through it like full ones."""
    from accelerate.hooks import CpuOffload, add_hook_to_module, remove_hook_from_module

    pipe = flux()
    with zcache.enabled(pipe, ZCacheConfig(interval=4)):
        expected = FLUX.run(pipe)
        add_hook_to_module(pipe.transformer, CpuOffload(execution_device="cpu"))
        assert torch.equal(expected, FLUX.run(pipe))
        remove_hook_from_module(pipe.transformer)
        assert torch.equal(expected, FLUX.run(pipe))


def test_relaxation_is_reported_per_window() -> None:
    pipe = flux()
    with zcache.enabled(pipe, ZCacheConfig(interval=4, relax="sigma")) as handle:
        FLUX.run(pipe)
    sigmas = pipe.scheduler.sigmas.tolist()
    report = handle.report()
    for start, stop in zip(report.full_steps, report.full_steps[1:], strict=False):
        gamma = 2 * sigmas[stop] / (sigmas[start] + sigmas[stop])
        assert report.relaxation[stop] == pytest.approx(gamma)


@pytest.mark.parametrize("base", ["automatic", "taylorseer"])
@pytest.mark.parametrize("relax", ["sigma", "time"])
def test_without_noise_levels_all_is_kept_and_said(monkeypatch: Any, relax: str, base: str) -> None:
    for name in ("noise_levels", "flow_times"):
        monkeypatch.setattr(f"zcache.caching.run.{name}", lambda scheduler: None)
    pipe = flux()
    config = ZCacheConfig(interval=4, relax=relax, base=base)
    with zcache.enabled(pipe, config) as handle:
        FLUX.run(pipe)
    report = handle.report()
    assert any("noise levels" in reason for reason in report.fallbacks)
    assert set(report.relaxation.values()) == {1.0}


def test_teacache_says_when_no_coefficients_are_published() -> None:
    pipe = dit()
    with zcache.enabled(pipe, ZCacheConfig(interval=4, base="teacache")) as handle:
        DIT.run(pipe)
    assert any("identity" in reason for reason in handle.report().fallbacks)


def test_teacache_threshold_decides_how_much_is_computed() -> None:
    pipe = flux()
    counts = []
    for threshold in (1e-6, 0.5, 1e6):
        with zcache.enabled(pipe, ZCacheConfig(base="teacache", threshold=threshold)) as handle:
            FLUX.run(pipe)
        counts.append(handle.report().full_passes)
    assert counts[0] == STEPS and counts[2] == 2 and counts[0] > counts[1] > counts[2]


@pytest.mark.parametrize(("sampler", "said"), [(DDIMScheduler, 0), (UniPCMultistepScheduler, 1)])
def test_a_profile_found_with_another_sampler_is_said_in_the_report(
    sampler: type, said: int
) -> None:
    pipe = DIT.build()
    pipe.scheduler = sampler.from_config(pipe.scheduler.config)
    profile = zcache.Profile(
        model="DiTTransformer2DModel",
        scheduler="DDIMScheduler",
        prediction="epsilon",
        default=3,
        budgets={3: ZCacheConfig(full_steps=(0, 3, 6))},
    )
    with zcache.enabled(pipe, profile) as handle:
        DIT.run(pipe)
        DIT.run(pipe)
    notes = [note for note in handle.report().fallbacks if "UniPCMultistepScheduler" in note]
    assert len(notes) == said
