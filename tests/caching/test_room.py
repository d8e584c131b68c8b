"""Features that are let go early: no picture knows of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import zcache
from zcache import ZCacheConfig
from zcache.caching.anchors import Anchors

from ..pipelines import BY_NAME, Case

SETTINGS: list[dict[str, Any]] = [
    {},
    {"order": 2},
    {"order": 0},
    {"base": "fora"},
    {"base": "spectrum"},
    {"base": "foca"},
    {"base": "teacache"},
    {"weight": "logarithmic", "relax": None},
    {"weight": "future", "order": 2},
    {"first_window": False, "weight": "linear"},
    {"last_window": False},
    {"reflect": False},
    {"placement": "warmup", "weight": "half"},
    {"granularity": "output"},
    {"granularity": "module"},
    {
        "weight": "fitted",
        "full_steps": (0, 3, 4, 9, 13),
        "factors": [(0.3 * k) % 1 for k in range(14)],
    },
]


def drawn(case: Case, config: ZCacheConfig) -> tuple[torch.Tensor, Any]:
    pipe = case.build()
    with zcache.enabled(pipe, config) as handle:
        output = case.run(pipe, 14)
    return output, handle.report()


@pytest.mark.parametrize("name", ["flux", "flux-true-cfg", "dit-two-labels", "hunyuan"])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_run_is_bit_for_bit_what_it_is_with_every_anchor_held(
    name: str, settings: dict, monkeypatch: Any
) -> None:
    own = {} if "full_steps" in settings else {"interval": 4}
    config = ZCacheConfig(**own, **settings)
    sparing, report = drawn(BY_NAME[name], config)
    monkeypatch.setattr(Anchors, "_keep", lambda self, count: None)
    lavish, other = drawn(BY_NAME[name], config)
    assert torch.equal(sparing, lavish)
    assert report.walk == other.walk and report.fallbacks == other.fallbacks
    assert report.cache_bytes <= other.cache_bytes
