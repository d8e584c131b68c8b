"""Reflection stands on every base, at every weight, in a real pipeline."""

from __future__ import annotations

import pytest
import torch

import zcache
from zcache import ZCacheConfig
from zcache.method import bases, weights

from ..pipelines import CASES

CHOSEN = [case for case in CASES if case.name in ("flux", "dit")]
case = pytest.mark.parametrize("case", CHOSEN, ids=str)
base = pytest.mark.parametrize("base", bases.names())


@case
@base
def test_interval_one_is_bit_identical(case, base: str) -> None:
    pipe = case.build()
    plain = case.run(pipe)
    with zcache.enabled(pipe, ZCacheConfig(interval=1, base=base)):
        assert torch.equal(plain, case.run(pipe))


@case
@base
@pytest.mark.parametrize("granularity", ["stack", "module", "output"])
def test_the_walk_is_the_planned_one_and_reflection_changes_the_picture(
    case, base: str, granularity: str
) -> None:
    """Interval 2, so that Spectrum has its five anchors."""
    pipe, outputs = case.build(), []
    full = tuple(range(0, 11, 2))
    for reflect in (True, False):
        config = ZCacheConfig(full_steps=full, base=base, granularity=granularity, reflect=reflect)
        with zcache.enabled(pipe, config) as handle:
            outputs.append(case.run(pipe))
        report = handle.report()
        assert report.walk == str(config.plan(report.num_steps))
        assert all("identity" in reason for reason in report.fallbacks)
    assert torch.isfinite(outputs[0]).all() and not torch.equal(*outputs)


@case
@base
@pytest.mark.parametrize("weight", weights.names())
def test_every_weight_blends_every_base(case, base: str, weight: str) -> None:
    pipe = case.build()
    with zcache.enabled(pipe, ZCacheConfig(interval=3, base=base, weight=weight)) as handle:
        output = case.run(pipe)
    report = handle.report()
    assert torch.isfinite(output).all() and report.reflect_passes > 0
