"""A diffusion sampler with strong guidance and few full steps: nothing of a correction is kept."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import zcache
from zcache import ZCacheConfig
from zcache.caching.report import Report

from ..pipelines import BY_NAME

DIT = BY_NAME["dit"]
STEPS = 28


def drawn(guidance: float, **settings: Any) -> tuple[torch.Tensor, Report]:
    return drawn_by(ZCacheConfig(**settings), guidance)


def drawn_by(config: ZCacheConfig, guidance: float) -> tuple[torch.Tensor, Report]:
    pipe = DIT.build()
    with zcache.enabled(pipe, config) as handle:
        return DIT.run(pipe, STEPS, guidance_scale=guidance), handle.report()


@pytest.mark.parametrize(("guidance", "full"), [(6.0, 6), (8.0, 9), (4.0, 3)])
def test_with_too_few_full_steps_the_picture_is_that_of_the_forecast(
    guidance: float, full: int
) -> None:
    """4/3 full steps for every unit of guidance above 1: 6.67, 9.33 and 4."""
    steps = tuple(range(0, 3 * full, 3))
    picture, report = drawn(guidance, full_steps=steps)
    alone, _ = drawn(guidance, full_steps=steps, reflect=False)
    assert torch.equal(picture, alone)
    assert report.reflect_passes == 0
    (reason,) = report.fallbacks
    assert f"guidance of {guidance:g} a correction helps from {full + 1} full steps" in reason

    picture, report = drawn(guidance, full_steps=(*steps, 3 * full))
    alone, _ = drawn(guidance, full_steps=(*steps, 3 * full), reflect=False)
    assert report.reflect_passes > 0 and report.fallbacks == ()
    assert not torch.equal(picture, alone)


def test_one_that_was_asked_for_is_made() -> None:
    for relax in ("sigma", 0.5, None):
        _, report = drawn(6.0, full_steps=(0, 9, 18, 27), relax=relax)
        assert report.reflect_passes > 0 and report.fallbacks == ()


@pytest.mark.parametrize(("guidance", "kept"), [(1.5, True), (2.0, False)])
def test_of_teacache_the_window_tells(guidance: float, kept: bool) -> None:
    """Its full steps are not known before: as many are reckoned with as windows of this length would make,
    of 28 steps 1.04 from one of 27; 0.67 and 1.33 are wanted."""
    config = ZCacheConfig(base="teacache", threshold=100.0)
    _, report = drawn_by(config, guidance)
    assert report.full_steps == (0, 27)
    assert (27 in report.relaxation) == kept
