"""Every family at every granularity it offers, judged once and asked law by law."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from zcache.caching import adapters

from .everything import BY_NAME, FAMILIES, pipeline
from .judge import LIMIT, Judgement, judge

PAIRS = [
    (family.name, granularity)
    for family in FAMILIES
    for granularity in family.granularities(pipeline(family.name))
]
every = pytest.mark.parametrize(("name", "granularity"), PAIRS)


@cache
def judged(name: str, granularity: str) -> Judgement:
    return judge(BY_NAME[name], pipeline(name), granularity)


@every
def test_interval_one_is_bit_identical_and_disable_exact(name: str, granularity: str) -> None:
    found = judged(name, granularity)
    assert found.identical and found.restored


@every
def test_a_second_run_equals_the_first(name: str, granularity: str) -> None:
    assert judged(name, granularity).repeated


@every
def test_full_computations_are_those_reported(name: str, granularity: str) -> None:
    found = judged(name, granularity)
    assert found.computed == found.report.full_computations > 0


@every
def test_the_run_is_followed_to_its_last_step(name: str, granularity: str) -> None:
    report = judged(name, granularity).report
    ended = any("the run ended after" in reason for reason in report.fallbacks)
    assert report.finished or (BY_NAME[name].partly and ended)


@every
def test_something_is_cached(name: str, granularity: str) -> None:
    found = judged(name, granularity)
    assert found.report.forecast_passes > 0 and found.moved > 1e-6


@every
def test_with_weight_zero_going_back_changes_nothing(name: str, granularity: str) -> None:
    assert judged(name, granularity).w0 <= LIMIT


@every
def test_the_run_ends_where_the_recorded_oracle_does(name: str, granularity: str) -> None:
    found = judged(name, granularity)
    assert found.oracle <= LIMIT or found.is_first_order


@every
def test_every_window_is_reflected_or_the_reason_reported(name: str, granularity: str) -> None:
    found = judged(name, granularity)
    if found.unreflected:
        assert BY_NAME[name].partly
        assert any(
            "not reflected" in r or "nothing was reflected" in r for r in found.report.fallbacks
        )
    else:
        assert BY_NAME[name].partly or found.is_first_order or found.report.fallbacks == ()


def test_the_goal_of_coverage_is_met() -> None:
    assert sum(granularity == "output" for _, granularity in PAIRS) >= 40
    assert sum(granularity == "stack" for _, granularity in PAIRS) >= 25


def test_the_coverage_page_has_every_family_and_every_described_class() -> None:
    page = (Path(__file__).parents[3] / "examples/coverage/README.md").read_text(encoding="utf-8")
    for name in (*BY_NAME, *adapters.names()):
        assert f"\n| {name} |" in page, "run examples/coverage.py"
