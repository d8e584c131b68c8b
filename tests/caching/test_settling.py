"""An automatic granularity in a run: the picture is that of what it stands for, and the report says which."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler

import zcache
from zcache import ZCacheConfig
from zcache.caching import guidance
from zcache.caching.guidance import Combination
from zcache.caching.reflection import first_scale
from zcache.method.granularity import settled
from zcache.method.relaxation import MOST_OF_OUTPUT

from ..pipelines import CASES, STEPS, dit, dit_arguments

FULL = (0, 2, 5, 8, 11)
SOLVERS = [DDIMScheduler(), DPMSolverMultistepScheduler(), UniPCMultistepScheduler()]


def drawn(config: ZCacheConfig, scale: float, scheduler: Any = None) -> tuple[Any, Any]:
    pipe = dit()
    if scheduler is not None:
        pipe.scheduler = type(scheduler).from_config(scheduler.config)
    with zcache.enabled(pipe, config) as handle:
        image = pipe(**dit_arguments(STEPS, (1, 2), scale), return_dict=False)[0]
    return torch.as_tensor(image), handle.report()


@pytest.mark.parametrize("scheduler", SOLVERS, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("reflect", [True, False])
@pytest.mark.parametrize(
    ("scale", "granularity"), [(1.0, "output"), (1.5, "output"), (2.0, "stack"), (4.0, "stack")]
)
def test_the_picture_is_that_of_what_it_stands_for(
    scheduler: Any, reflect: bool, scale: float, granularity: str
) -> None:
    asked = ZCacheConfig(full_steps=FULL, reflect=reflect)
    meant = settled(asked, STEPS, True, scale)
    assert meant.granularity == granularity

    image, report = drawn(asked, scale, scheduler)
    same, said = drawn(meant, scale, scheduler)

    assert torch.equal(image, same)
    assert report.granularity == said.granularity == granularity
    assert report.walk == said.walk and report.relaxation == said.relaxation
    assert (report.full_computations, report.fallbacks) == (said.full_computations, said.fallbacks)
    other = "stack" if granularity == "output" else "output"
    assert not torch.equal(image, drawn(meant.replace(granularity=other), scale, scheduler)[0])


@pytest.mark.parametrize("scheduler", SOLVERS, ids=lambda s: type(s).__name__)
def test_an_output_that_is_asked_for_gives_the_picture_of_one_that_is_chosen(
    scheduler: Any,
) -> None:
    chosen, report = drawn(ZCacheConfig(interval=4), 1.5, scheduler)
    asked, said = drawn(ZCacheConfig(interval=4, granularity="output"), 1.5, scheduler)
    assert report.granularity == said.granularity == "output"
    assert torch.equal(chosen, asked) and report.relaxation == said.relaxation


class Growing(float):
    """A guidance of 1.2 in the first step, and of 4 from there on."""

    steps = 0

    def __mul__(self, change: Any) -> Any:
        self.steps += 1
        return change * (1.2 if self.steps == 1 else 4.0)


def test_guidance_that_grows_is_not_reflected_and_said() -> None:
    image, report = drawn(ZCacheConfig(full_steps=FULL), Growing(4.0))
    alone, _ = drawn(ZCacheConfig(full_steps=FULL, reflect=False), Growing(4.0))

    assert report.granularity == "output" and report.reflect_passes == 0
    assert any("guidance grew" in reason for reason in report.fallbacks)
    assert torch.equal(image, alone)


@pytest.mark.parametrize("prediction", ["v_prediction", "sample"])
def test_a_model_that_tells_something_else_than_the_noise_keeps_the_stack(prediction: str) -> None:
    scheduler = DDIMScheduler(prediction_type=prediction)
    assert drawn(ZCacheConfig(full_steps=FULL), 1.0, scheduler)[1].granularity == "stack"


def test_longer_windows_keep_less() -> None:
    kept = []
    for full in (range(0, 12), (*range(0, 10, 2), 11), FULL, (0, 6, 11)):
        report = drawn(ZCacheConfig(full_steps=tuple(full)), 1.5)[1]
        kept += [max(report.relaxation.values(), default=MOST_OF_OUTPUT)]
    assert kept == sorted(kept, reverse=True) and kept[-1] < kept[0] == MOST_OF_OUTPUT


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_pipeline_draws_what_it_stands_for(case: Any) -> None:
    """Two runs of one cache: nothing of the first stays."""
    pipe = case.build()
    with zcache.enabled(pipe, ZCacheConfig(interval=3)) as handle:
        first, second = case.run(pipe), case.run(pipe)
        report = handle.report()
    assert torch.equal(first, second)
    said = ZCacheConfig(interval=3, granularity=report.granularity)
    if report.granularity == "output":
        said = settled(ZCacheConfig(interval=3), report.num_steps, True, 1.0)
    other = case.build()
    with zcache.enabled(other, said):
        assert torch.equal(case.run(other), first)


@pytest.mark.parametrize(
    ("found", "scale"),
    [
        (Combination(leaf=(0, 0)), 1.0),
        (Combination(factors=(-0.5, 1.5)), 1.5),
        (Combination(factors=(1.0, -3.0, 3.0)), 3.0),
        (Combination(factors=(-0.5, 1.5), misfit=0.2), None),
        (Combination(factors=(-0.5, 1.5), takes_latent=True), None),
        (None, None),
    ],
    ids=str,
)
def test_how_strong_guidance_is_known_of_plain_sums_alone(found: Any, scale: float | None) -> None:
    assert guidance.known_scale(found) == scale


def test_a_guidance_that_the_model_is_told_counts() -> None:
    latent = torch.zeros(1)
    visit: Any = SimpleNamespace(
        branches=[SimpleNamespace(leaves=[latent])], model_output=latent, sample=latent
    )
    run: Any = SimpleNamespace(embedded_scale=3.5)
    assert first_scale(run, visit) == 3.5
