"""What a run decides and reports, read off one run each."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import zcache
from zcache import ZCacheConfig
from zcache.caching import reflection
from zcache.caching.guidance import Combination
from zcache.caching.report import Log
from zcache.caching.run import Run
from zcache.method.teacache import Accumulator

from ..pipelines import CASES, STEPS, flux

FLUX = next(case for case in CASES if case.name == "flux")


def run(config: ZCacheConfig, **changes: Any) -> Any:
    pipe = flux()
    with zcache.enabled(pipe, config) as handle:
        FLUX.run(pipe, **changes)
    return handle.report()


def test_the_bytes_reported_are_the_most_that_were_held() -> None:
    log = Log()
    for sizes in ((4, 4), (8, 16), (4,)):
        log.hold([torch.zeros(size) for size in sizes])
    assert log.cache_bytes == 4 * (8 + 16)


def test_the_bytes_held_are_anchors_and_the_latents_of_the_open_window() -> None:
    """FORA at output granularity, a latent of 64 x 4 float32: two anchors, since its weight looks from both;
    for each of the window's 5 steps the latent before it and its output; and the latent that the last of them
    returned (that of the others is the one before the next)."""
    config = ZCacheConfig(full_steps=(0, 6, 11), base="fora", granularity="output")
    assert run(config).cache_bytes == (2 + 2 * 5 + 1) * 64 * 4 * 4


@pytest.mark.parametrize(("setting", "first"), [({"first_window": False}, 4), ({}, 0)])
def test_the_first_window_alone_is_left_when_told_to(setting: dict, first: int) -> None:
    report = run(ZCacheConfig(full_steps=(0, 4, 8, 11), **setting))
    reflected = [int(p[:-1]) for p in report.walk.split() if p.endswith("r")]
    assert reflected == list(range(first + 1, STEPS))


def test_a_step_taken_in_full_for_another_reason_restarts_the_sum() -> None:
    accumulator = Accumulator((1.0, 0.0), 1.0, 5)
    assert not accumulator.is_full(0.9)
    accumulator.restart()
    assert not accumulator.is_full(0.9) and accumulator.is_full(0.2)


def test_guidance_up_to_five_percent_off_a_sum_counts_as_linear() -> None:
    assert Combination(misfit=0.05).is_linear and not Combination(misfit=0.0501).is_linear


# ---- every reason for which a window stays as it was forecast -------------------------------------


def spoilt(monkeypatch: Any, spoil: Any) -> tuple[str, ...]:
    """The report's fallbacks of a run of which each window is changed before it is gone back over."""
    whole = reflection.reflect

    def changed(state: Run, step: Any, stop: Any) -> Any:
        spoil(state, [*state.window, stop])
        return whole(state, step, stop)

    monkeypatch.setattr(reflection, "reflect", changed)
    report = run(ZCacheConfig(full_steps=(0, 4, 11), relax=None))
    assert report.finished and report.reflect_passes == 0
    return report.fallbacks


def without_places(state: Run, visits: Any) -> None:
    state.places.clear()


def full_inside(state: Run, visits: Any) -> None:
    visits[0].branches[0].from_cache = False


def without_older_anchor(state: Run, visits: Any) -> None:
    for anchors in state.anchors.values():
        del anchors.steps[:-1], anchors.features[:-1]


def without_newer_anchor(state: Run, visits: Any) -> None:
    for anchors in state.anchors.values():
        del anchors.steps[-1:], anchors.features[-1:]


def without_anchors(state: Run, visits: Any) -> None:
    state.anchors.clear()


def written_into(state: Run, visits: Any) -> None:
    visits[0].model_output.add_(0.0)


def given_written_into(state: Run, visits: Any) -> None:
    next(x for x in visits[0].branches[0].flat if isinstance(x, torch.Tensor)).add_(0.0)


def of_another_shape(state: Run, visits: Any) -> None:
    visits[0].returned = visits[0].returned[:, :-1]


def of_no_shape(state: Run, visits: Any) -> None:
    visits[0].model_output = visits[0].model_output[:, :3]
    visits[0].versions = (visits[0].model_output._version, *visits[0].versions[1:])
    visits[0].branches[0].leaves = [visits[0].branches[0].leaves[0][:, :2].clone()]


def of_other_scales(state: Run, visits: Any) -> None:
    made = visits[0].model_output.clone().sign()
    visits[0].model_output = made
    visits[0].versions = (made._version, *visits[0].versions[1:])


def of_another_step(state: Run, visits: Any) -> None:
    visits[0].returned = visits[0].returned + 1


ANCHORS = "a denoiser call has no anchor at both of its ends"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without_anchors, ANCHORS),
        (without_older_anchor, ANCHORS),
        (without_newer_anchor, ANCHORS),
        (full_inside, "a denoiser call was computed in full inside it"),
        (without_places, "the latent was not found in the denoiser's arguments"),
        (written_into, "the pipeline writes into what the denoiser is given or gave"),
        (given_written_into, "the pipeline writes into what the denoiser is given or gave"),
        (of_another_shape, "the pipeline changed the latent's shape between two steps"),
        (of_no_shape, "the denoiser's outputs do not have the scheduler's shape"),
        (of_other_scales, "guidance is not linear in the denoiser's outputs (misfit "),
    ],
)  # fmt: skip
def test_a_window_that_cannot_be_gone_back_over_stays_and_says_why(
    monkeypatch: Any, spoil: Any, said: str
) -> None:
    fallbacks = spoilt(monkeypatch, spoil)
    assert any(f"a window was not reflected: {said}" in reason for reason in fallbacks), fallbacks


def test_a_step_that_is_not_the_same_twice_leaves_all_windows_and_is_said_once(
    monkeypatch: Any,
) -> None:
    (reason,) = spoilt(monkeypatch, of_another_step)
    said = "FlowMatchEulerDiscreteScheduler does not give the same step twice"
    assert reason == f"nothing was reflected: {said}"


def test_guidance_that_sets_in_at_the_newer_anchor_leaves_the_window(monkeypatch: Any) -> None:
    """Nobody could know, so the past that a linear weight would look from is not held any more."""
    whole = reflection.reflect

    def guided(state: Run, step: Any, stop: Any) -> Any:
        if stop.step == 11:
            stop.model_output = 2 * stop.model_output
            stop.versions = (stop.model_output._version, *stop.versions[1:])
        return whole(state, step, stop)

    monkeypatch.setattr(reflection, "reflect", guided)
    report = run(ZCacheConfig(full_steps=(0, 4, 11), base="taylorseer"), guidance_scale=1.0)
    assert report.fallbacks == ("a window was not reflected: guidance set in at its newer anchor",)
    assert report.reflect_passes == 4


def test_the_latent_keeps_its_type_where_a_scheduler_widens_it(monkeypatch: Any) -> None:
    """A step that returns float64: the denoiser is called with the latent's own type again."""
    from diffusers import FlowMatchEulerDiscreteScheduler as Scheduler

    own, seen = Scheduler.step, []

    def step(self: Any, model_output: Any, timestep: Any, sample: Any, **named: Any) -> Any:
        return (own(self, model_output, timestep, sample, return_dict=False)[0].double(),)

    apply = reflection.evaluate

    def evaluate(state: Any, visit: Any, sample: Any, *rest: Any) -> Any:
        seen.append((sample.dtype, visit.sample.dtype))
        return apply(state, visit, sample, *rest)

    monkeypatch.setattr(Scheduler, "step", step)
    monkeypatch.setattr(reflection, "evaluate", evaluate)
    pipe = flux()
    narrow = {"callback_on_step_end": lambda p, i, t, k: {"latents": k["latents"].float()}}
    with zcache.enabled(pipe, ZCacheConfig(interval=4, relax=None)):
        FLUX.run(pipe, **narrow)
    assert seen and all(a == b == torch.float32 for a, b in seen)
