"""Few steps, and what the report must bear."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import zcache
from zcache import ZCacheConfig
from zcache.caching.report import Log

from ..pipelines import CASES, STEPS, flux

FLUX = next(case for case in CASES if case.name == "flux")
granularity = pytest.mark.parametrize("granularity", ["stack", "module", "output"])


@granularity
@pytest.mark.parametrize("steps", range(1, 9))
def test_few_steps_run_with_default_settings(granularity: str, steps: int) -> None:
    pipe = flux()
    with zcache.enabled(pipe, ZCacheConfig(granularity=granularity)) as handle:
        found = FLUX.run(pipe, steps=steps)
    report = handle.report()
    assert torch.isfinite(found).all() and report.finished and report.num_steps == steps
    said = [reason for reason in report.fallbacks if "is above" in reason]
    assert bool(said) == (steps < 5)


def test_an_explicit_full_step_beyond_the_run_is_refused_before_the_denoiser_runs() -> None:
    pipe, calls = flux(), []
    pipe.transformer.register_forward_pre_hook(lambda *_: calls.append(1))
    with zcache.enabled(pipe, ZCacheConfig(full_steps=(0, STEPS))):
        with pytest.raises(zcache.ConfigError, match="beyond the last"):
            FLUX.run(pipe)
        assert calls == []


class Wrapped(Tensor):
    """As a collective that is still under way: it has no memory of its own to point to."""

    def untyped_storage(self) -> Any:
        raise RuntimeError("no storage")


def test_tensors_without_memory_of_their_own_are_counted() -> None:
    log = Log()
    log.hold([torch.zeros(4).as_subclass(Wrapped), torch.zeros(2), torch.zeros(2)])
    assert log.report().cache_bytes == 4 * 4 + 2 * 2 * 4


def test_the_bytes_are_the_most_that_was_held_and_shared_memory_counts_once() -> None:
    log, large = Log(), torch.zeros(100)
    log.hold([large, large[:50], torch.zeros(10)])
    log.hold([torch.zeros(5)])
    assert log.report().cache_bytes == 4 * 100 + 4 * 10
