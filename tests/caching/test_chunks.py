"""Pipelines that draw one stretch of a video after another: each is a run, in one call."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import zcache
from zcache import ZCacheConfig

from ..pipelines import STEPS
from .families import segments
from .families.everything import BY_NAME, pipeline
from .loops import FLUX, Loop, guided_until

IN_CHUNKS = {
    "wan-animate": lambda: segments.wan_animate_arguments(frames=9, output_type="pt"),
    "helios": lambda: segments.helios_arguments(num_frames=10),
}
every = pytest.mark.parametrize("name", IN_CHUNKS)


def run(name: str, config: ZCacheConfig | None = None) -> tuple[torch.Tensor, Any]:
    family, pipe = BY_NAME[name], pipeline(name)
    if config is None:
        return family.run(pipe, **IN_CHUNKS[name]()), None
    with zcache.enabled(pipe, config) as handle:
        return family.run(pipe, **IN_CHUNKS[name]()), handle.report()


@every
def test_interval_one_is_bit_identical_over_all_chunks(name: str) -> None:
    plain, _ = run(name)
    assert torch.equal(plain, run(name, ZCacheConfig.paper(1))[0])


@every
def test_every_chunk_is_cached_from_its_own_anchors(name: str) -> None:
    plain, _ = run(name)
    latent, report = run(name, ZCacheConfig.paper(3))
    assert report.finished and report.reflect_passes > 0 and report.fallbacks == ()
    size = plain.abs().max()
    for ours, theirs in zip(latent.chunk(2), plain.chunk(2), strict=True):
        assert 1e-6 < (ours - theirs).abs().max() / size < 0.5


def test_what_is_said_of_a_chunk_stays_said() -> None:
    loop = Loop()
    config = ZCacheConfig(interval=4, granularity="output")
    with zcache.enabled(loop.pipe, config) as handle, handle.sampling():
        loop.run(velocity=guided_until(loop, 1))
        said = handle.report().fallbacks
        loop.run()
    assert said != () and set(said) <= set(handle.report().fallbacks)


def test_a_run_that_ends_early_says_so() -> None:
    def interrupt(pipe: Any, index: int, timestep: Any, values: dict) -> dict:
        pipe._interrupt = index == 4
        return {}

    pipe = Loop().pipe
    with zcache.enabled(pipe, ZCacheConfig(interval=4)) as handle:
        FLUX.run(pipe, callback_on_step_end=interrupt)
    assert handle.report().fallbacks == (f"the run ended after 5 of {STEPS} steps",)
    with zcache.enabled(pipe, ZCacheConfig(interval=1)) as handle:
        FLUX.run(pipe, callback_on_step_end=interrupt)
    assert handle.report().fallbacks == ()
