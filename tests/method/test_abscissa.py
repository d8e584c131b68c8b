"""Laws of the angle along which a diffusion sampler's stack is forecast."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    IPNDMScheduler,
    LMSDiscreteScheduler,
    PNDMScheduler,
    SASolverScheduler,
    UniPCMultistepScheduler,
)

import zcache
from zcache import ZCacheConfig
from zcache.caching import anchors
from zcache.caching.scheduler import remembers_outputs
from zcache.caching.times import flow_times
from zcache.method import abscissa, bases

from ..pipelines import dit, dit_arguments, flux, flux_arguments

TIMES = [0.98, 0.9, 0.7, 0.5, 0.2, 0.05]


def test_the_first_step_is_0_the_last_is_their_number_less_1_and_all_are_in_order() -> None:
    positions = abscissa.positions(TIMES)
    assert positions[0] == 0 and positions[-1] == pytest.approx(len(TIMES) - 1)
    assert positions == sorted(positions)


def test_half_picture_half_noise_is_45_degrees() -> None:
    """t = 1, 1/2, 0: noise alone, as much of either, the picture alone: 90, 45 and 0 degrees."""
    assert abscissa.positions([1.0, 0.5, 0.0]) == pytest.approx([0, 1, 2])


@pytest.mark.parametrize(
    "times",
    [[1.0, 0.6, 0.6, 0.2], [math.nan, 0.6, 0.2], [1.0], []],
    ids=["twice", "no time", "one", "none"],
)
def test_steps_that_do_not_all_go_on_stay_where_they_are(times: list[float]) -> None:
    assert abscissa.positions(times) == list(range(len(times)))


def test_a_share_of_the_angle_lies_between_it_and_the_number_of_steps() -> None:
    whole, part = abscissa.positions(TIMES), abscissa.positions(TIMES, 0.75)
    assert part == pytest.approx([0.75 * at + 0.25 * k for k, at in enumerate(whole)])
    assert abscissa.positions(TIMES, 0.0) == list(range(len(TIMES)))


def test_what_is_a_line_in_the_angle_is_exact() -> None:
    base = abscissa.along(abscissa.positions(TIMES))
    features = [3 - 2 * math.atan2(t, 1 - t) for t in TIMES]
    for step in range(len(TIMES)):
        older, newer = base([1, 3], step, 1)
        assert older * features[1] + newer * features[3] == pytest.approx(features[step])


def test_steps_at_their_numbers_are_taylorseer() -> None:
    base = abscissa.along([float(step) for step in range(12)])
    for known, step in (([0, 4, 9], 11), ([2], 3), ([0, 4, 9], 6), ([0, 4, 9], 40)):
        for order in range(3):
            assert base(known, step, order) == bases.taylorseer(known, step, order)


def test_it_passes_through_both_anchors_and_looks_as_far_back() -> None:
    base = abscissa.along(abscissa.positions(TIMES))
    assert bases.interpolates(base, 1)
    assert bases.reach(base, 1) == bases.reach(bases.taylorseer, 1) == 2


def forecasts(pipe: Any, config: ZCacheConfig, call: dict[str, Any]) -> list[tuple[float, ...]]:
    """The factors by which a run combined anchors, in their order."""
    seen: list[tuple[float, ...]] = []
    original = anchors.combine

    def combine(features: Any, factors: Any) -> Any:
        seen.append(tuple(factors))
        return original(features, factors)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(anchors, "combine", combine)
        with zcache.enabled(pipe, config):
            pipe(**call)
    return seen


class Watched(DDIMScheduler):
    """As a clock or a recorder makes of the pipeline's own."""


# Settings, guidance, sampler, and the share of the angle that is right for them.
CASES = {
    "the defaults with guidance": ({}, 3.0, None, 1.0),
    "the stack by name": ({"granularity": "stack"}, 1.0, None, 1.0),
    "a sampler that remembers": ({}, 3.0, DPMSolverMultistepScheduler, 1.0),
    "without reflection": ({"granularity": "stack", "reflect": False}, 1.0, None, 1.0),
    "the output of mild guidance": ({}, 1.0, None, 0.75),
    "the same, without reflection": ({"reflect": False}, 1.0, None, 0.75),
    "the same, and one that remembers": ({}, 1.0, DPMSolverMultistepScheduler, 0.0),
    "the same, watched": ({}, 1.0, Watched, 0.75),
    "the output by name": ({"granularity": "output"}, 1.0, None, 0.75),
    "single layers": ({"granularity": "module"}, 3.0, None, 0.0),
    "TaylorSeer by name": ({"base": "taylorseer"}, 3.0, None, 0.0),
    "a second derivative": ({"order": 2}, 3.0, None, 0.0),
}


@pytest.mark.parametrize(("own", "guidance", "sampler", "share"), CASES.values(), ids=CASES)
@torch.no_grad()
def test_which_runs_are_forecast_along_the_angle(
    own: dict[str, Any], guidance: float, sampler: Any, share: float
) -> None:
    """Of full steps 0 and 4 step 5 lies a quarter of the window ahead, if steps are counted: factors -1/4 and 5/4."""
    pipe = dit()
    if sampler is not None:
        pipe.scheduler = sampler.from_config(pipe.scheduler.config)
    config = ZCacheConfig(**own, full_steps=(0, 4, 11))
    used = forecasts(pipe, config, dit_arguments(12, guidance=guidance))
    times = flow_times(pipe.scheduler)
    assert times is not None
    found = set()
    for candidate in (0.0, 0.75, 1.0):
        at = abscissa.positions(times, candidate)
        ahead = (at[5] - at[4]) / (at[4] - at[0])
        if any(pair[-2:] == pytest.approx((-ahead, 1 + ahead)) for pair in used if len(pair) > 1):
            found.add(candidate)
    assert found == {share}


@torch.no_grad()
def test_a_flow_counts_steps() -> None:
    config = ZCacheConfig(full_steps=(0, 4, 11), reflect=False)
    used = forecasts(flux(), config, flux_arguments(12))
    assert any(two == pytest.approx((-0.25, 1.25)) for two in used if len(two) == 2)


@torch.no_grad()
def test_a_run_that_begins_in_the_middle_counts_from_there() -> None:
    """The loop takes the last 6 of 12 steps, as image-to-image does; step 3 of these is forecast from 0 and 2."""
    pipe = dit()
    pipe.progress_bar = lambda timesteps: timesteps[-6:]
    config = ZCacheConfig(full_steps=(0, 2), granularity="stack", reflect=False)
    used = forecasts(pipe, config, dit_arguments(12, guidance=1.0))
    times = flow_times(pipe.scheduler)
    assert times is not None
    at = abscissa.positions(times[-6:])
    ahead = (at[3] - at[2]) / (at[2] - at[0])
    assert any(two == pytest.approx((-ahead, 1 + ahead)) for two in used if len(two) == 2)


REMEMBER = (
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    IPNDMScheduler,
    LMSDiscreteScheduler,
    PNDMScheduler,
    SASolverScheduler,
    UniPCMultistepScheduler,
)


def test_which_samplers_remember_outputs() -> None:
    assert all(remembers_outputs(made()) for made in REMEMBER)
    assert not any(remembers_outputs(made()) for made in (DDIMScheduler, EulerDiscreteScheduler))


def test_heuns_steps_come_twice() -> None:
    scheduler = HeunDiscreteScheduler()
    scheduler.set_timesteps(6)
    times = flow_times(scheduler)
    assert times is not None and abscissa.positions(times) == list(range(len(times)))
