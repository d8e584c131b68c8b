"""One run: where it begins, which windows are reflected, and when TeaCache computes in full."""

from __future__ import annotations

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

import zcache
from zcache import ZCacheConfig
from zcache.caching import bindings
from zcache.caching.run import Run
from zcache.caching.scheduler import noise_levels
from zcache.method.teacache import Accumulator

from ..pipelines import BY_NAME, STEPS, dit, flux
from ..planning import planned

FLUX, IMG2IMG, DIT = BY_NAME["flux"], BY_NAME["flux-img2img"], BY_NAME["dit"]


@pytest.mark.parametrize("name", ["flux", "flux-img2img", "dit"])
@pytest.mark.parametrize("skipped", ["first_window", "last_window"])
def test_a_window_that_is_not_to_be_reflected_is_left(name: str, skipped: str) -> None:
    case, config = BY_NAME[name], ZCacheConfig(interval=3, **{skipped: False})
    pipe = case.build()
    with zcache.enabled(pipe, config) as handle:
        case.run(pipe)
    report = handle.report()
    assert (
        report.walk == str(planned(config, pipe, report.num_steps)) != str(ZCacheConfig(interval=3))
    )
    assert 0 < report.reflect_passes < ZCacheConfig(interval=3).plan(report.num_steps).num_steps - 1


def test_image_to_image_is_told_from_its_own_first_step() -> None:
    """Strength 0.7 of 12 steps: 3.6 are left out, so the last 9 are taken."""
    pipe, told = IMG2IMG.build(), []
    with zcache.enabled(pipe, ZCacheConfig(interval=4, relax="sigma")) as handle:
        handle.on_pass = lambda step, kind, num_steps: told.append((step, num_steps))
        IMG2IMG.run(pipe)
    report = handle.report()
    assert report.num_steps == 9 and {number for _, number in told} == {9}
    assert {step for step, _ in told} == set(range(9))
    sigmas = (pipe.scheduler.timesteps / 1000).tolist()[STEPS - 9 :]
    windows = zip(report.full_steps, report.full_steps[1:], strict=False)
    expected = {stop: 2 * sigmas[stop] / (sigmas[start] + sigmas[stop]) for start, stop in windows}
    assert report.relaxation == pytest.approx(expected)


def test_an_interval_above_the_steps_of_image_to_image_falls_to_what_fits() -> None:
    """Strength 0.3 of 12 steps: 8.4 are left out, so 4 are taken, and an interval of 5 becomes 4."""
    pipe = IMG2IMG.build()
    with zcache.enabled(pipe, ZCacheConfig(interval=5)) as handle:
        IMG2IMG.run(pipe, strength=0.3)
    report = handle.report()
    assert report.num_steps == 4
    assert report.walk == str(planned(ZCacheConfig(interval=4), pipe, 4))


def test_an_interval_above_the_steps_is_said_once() -> None:
    pipe = FLUX.build()
    with zcache.enabled(pipe, ZCacheConfig(interval=5)) as handle:
        FLUX.run(pipe, 3)
    said = [note for note in handle.report().fallbacks if "interval" in note]
    assert said == ["interval 5 is above the 3 sampling steps; 3 was taken"]


def test_a_full_step_that_image_to_image_does_not_have_is_refused_and_said() -> None:
    """Of 12 steps the last 6 are taken, which nobody knows before the first of them is."""
    pipe = IMG2IMG.build()
    with zcache.enabled(pipe, ZCacheConfig(full_steps=(0, 4, 8))) as handle:
        with pytest.raises(zcache.ConfigError) as refused:
            IMG2IMG.run(pipe, strength=0.5)
        assert handle.report().fallbacks == (f"the run was refused: {refused.value}",)
        assert handle._run is None


def test_a_profiles_steps_are_mapped_once_from_where_they_were_found() -> None:
    """Found at 12 steps, taken to the last 12 of 24: every second noise level is one of those found."""
    pipe = IMG2IMG.build()
    pipe.scheduler.set_timesteps(sigmas=[1 - step / 12 for step in range(12)], mu=0.5)
    times = pipe.scheduler.sigmas[:-1].tolist()
    config = ZCacheConfig(full_steps=(0, 3, 6, 9, 11), times=times)
    with zcache.enabled(pipe, config) as handle:
        IMG2IMG.run(pipe, 24, strength=0.5)
    (note,) = [note for note in handle.report().fallbacks if "profile" in note]
    assert note.startswith("the profile was found at 12 steps")
    assert note.endswith(f"were mapped to {len(handle.report().full_steps)} of 12 by noise level")


class Told:
    """Stands in for TeaCache's decision: notes the distances, and never computes in full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, signals: list[torch.Tensor]) -> None:
        self.distances: list[float] = []
        given = iter(signals)
        monkeypatch.setattr(bindings.Signal, "__call__", lambda *_: next(given))

        def decide(accumulator: Accumulator, distance: float) -> bool:
            self.distances.append(distance)
            return False

        monkeypatch.setattr(Accumulator, "is_full", decide)


def test_teacache_divides_the_change_by_the_former_signal(monkeypatch) -> None:
    """The published rule: |now - before| / |before|. 1, 2, 4, ... change by 1."""
    told = Told(monkeypatch, [torch.full((3,), 2.0**step) for step in range(STEPS)])
    pipe = flux()
    with zcache.enabled(pipe, ZCacheConfig(base="teacache", interval=4)) as handle:
        FLUX.run(pipe)
    assert told.distances == [1.0] * (STEPS - 1)
    assert handle.report().full_steps == (0, STEPS - 1)


def test_teacache_computes_in_full_where_the_signals_shape_changed(monkeypatch) -> None:
    signals = [torch.ones(1 if step < 5 else 3) for step in range(STEPS)]
    told = Told(monkeypatch, signals)
    pipe = flux()
    with zcache.enabled(pipe, ZCacheConfig(base="teacache", interval=4)) as handle:
        FLUX.run(pipe)
    assert handle.report().full_steps == (0, 5, STEPS - 1)
    assert told.distances == [0.0] * (STEPS - 2)


def test_image_to_videos_coefficients_are_not_text_to_videos() -> None:
    case = BY_NAME["i2v-replace"]
    pipe = case.build()
    with zcache.enabled(pipe, ZCacheConfig(interval=4, base="teacache")) as handle:
        case.run(pipe)
    assert any("(token_replace)" in reason for reason in handle.report().fallbacks)


@pytest.mark.parametrize("granularity", ["stack", "module"])
def test_what_depends_on_the_step_alone_is_computed_once_a_step(granularity: str) -> None:
    """The embedding of time and text: neither the self-check nor going back asks for it again."""
    pipe, calls = flux(), []
    hook = pipe.transformer.time_text_embed.register_forward_hook(lambda *_: calls.append(1))
    with zcache.enabled(pipe, ZCacheConfig(interval=4, granularity=granularity)) as handle:
        FLUX.run(pipe)
    hook.remove()
    assert handle.report().reflect_passes > 0
    assert len(calls) == STEPS


def test_noise_levels_of_ddim_are_sigma_over_alpha() -> None:
    """beta is linear from 0.0001 to 0.02; at timestep 0 only the first has been taken."""
    scheduler = dit().scheduler
    scheduler.set_timesteps(4)
    kept = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)
    expected = [float(((1 - kept[t]) / kept[t]).sqrt()) for t in (750, 500, 250, 0)]
    assert noise_levels(scheduler) == pytest.approx(expected, rel=1e-4)
    assert expected[-1] == pytest.approx((1e-4 / (1 - 1e-4)) ** 0.5)


def test_noise_levels_of_flow_matching_are_its_sigmas() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(sigmas=[1.0, 0.6, 0.2])
    assert noise_levels(scheduler) == pytest.approx([1.0, 0.6, 0.2])


def test_teacache_begins_with_as_many_full_steps_as_are_asked_for() -> None:
    pipe = flux()
    with zcache.enabled(pipe, ZCacheConfig(base="teacache", threshold=1e9, warmup=5)) as handle:
        FLUX.run(pipe)
    assert handle.report().full_steps == (0, 1, 2, 3, 4, STEPS - 1)


def test_teacache_at_interval_one_looks_at_no_signal_and_says_nothing() -> None:
    pipe = flux()
    plain = FLUX.run(pipe)
    with zcache.enabled(pipe, ZCacheConfig(base="teacache", interval=1)) as handle:
        assert torch.equal(FLUX.run(pipe), plain)
    report = handle.report()
    assert report.fallbacks == () and report.full_passes == STEPS


def test_what_was_reflected_before_is_not_denied() -> None:
    scheduler = flux().scheduler
    scheduler.set_timesteps(sigmas=[1.0, 0.75, 0.5, 0.25], mu=0.5)
    run = Run(ZCacheConfig(interval=2), scheduler)
    run.step, run.log.relaxation = 3, {2: 1.0}
    run.cannot_go_back("why")
    assert run.log.report().fallbacks == ("from step 3 on nothing was reflected: why",)
