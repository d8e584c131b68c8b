"""Schedulers that remember by writing into what they remember: a window is gone back over exactly."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, PNDMScheduler
from torch import Tensor

import zcache
from zcache import ZCacheConfig
from zcache.caching import scheduler

from ..pipelines import BY_NAME

DIT = BY_NAME["dit"]
NOTHING = {"base": "fora", "weight": lambda j, n: 0.0, "relax": None, "granularity": "stack"}


class Summing(DDIMScheduler):
    """Takes its steps along the mean of all outputs so far, summed up in place."""

    def set_timesteps(self, *args: Any, **kwargs: Any) -> None:
        super().set_timesteps(*args, **kwargs)
        self.total, self.kept, self.count = None, deque(maxlen=3), 0

    def step(
        self, model_output: Tensor, timestep: Any, sample: Tensor, *args: Any, **kwargs: Any
    ) -> Any:
        if self.total is None:
            self.total = torch.zeros_like(model_output)
        self.total += model_output
        self.count += 1
        self.kept.append(model_output)
        mean = (self.total / self.count + sum(self.kept) / len(self.kept)) / 2
        return super().step(mean, timestep, sample, *args, **kwargs)


@pytest.mark.parametrize("kind", [PNDMScheduler, Summing])
def test_going_back_over_a_window_with_what_was_there_changes_nothing(kind: type) -> None:
    """A blend that trusts nothing of the newer anchor takes every step as it was taken."""
    drawn = {}
    for reflect in (True, False):
        pipe = DIT.build()
        pipe.scheduler = kind.from_config(pipe.scheduler.config)
        with zcache.enabled(pipe, ZCacheConfig(interval=4, reflect=reflect, **NOTHING)) as handle:
            drawn[reflect] = DIT.run(pipe, 20, guidance_scale=1.0)
        assert handle.report().fallbacks == ()
        assert (handle.report().reflect_passes > 0) == reflect
    torch.testing.assert_close(drawn[True], drawn[False], rtol=1e-5, atol=1e-5)


def test_a_snapshot_is_not_written_into() -> None:
    made = Summing()
    made.set_timesteps(4)
    made.total, made.kept, made.table = (
        torch.ones(1, 2, 2),
        deque([1], 3),
        {"a": [torch.ones(2, 2)]},
    )
    before = scheduler.snapshot(made)
    for _ in range(2):
        made.total += 1
        made.kept.append(2)
        made.table["a"][0] += 1
        scheduler.restore(made, before)
        assert torch.equal(made.total, torch.ones(1, 2, 2))
        assert made.kept == deque([1]) and made.kept.maxlen == 3
        assert torch.equal(made.table["a"][0], torch.ones(2, 2))
    assert made.alphas_cumprod is before["alphas_cumprod"]  # a table
