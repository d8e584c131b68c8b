"""Full steps and walks: laws over many settings, then golden walks derived by hand."""

from __future__ import annotations

import itertools

import pytest

from zcache import ConfigError, ZCacheConfig
from zcache.evaluation import rows
from zcache.method import schedule
from zcache.method.schedule import Kind, Reflection, full_steps, render, walk
from zcache.method.weights import logarithmic

EVERY = [
    (steps, interval) for steps in (1, 2, 3, 7, 12, 28, 50) for interval in range(1, steps + 1)
]


@pytest.mark.parametrize("placement", schedule.placements())
@pytest.mark.parametrize("warmup", [1, 2, 3])
@pytest.mark.parametrize("last", [True, False])
def test_full_steps_ascend_from_zero_with_gaps_of_at_most_the_interval(
    placement, warmup, last
) -> None:
    for steps, interval in EVERY:
        full = full_steps(steps, interval, placement, warmup, last)
        gaps = [b - a for a, b in itertools.pairwise(full)]
        assert full[0] == 0 and full[-1] < steps
        assert all(1 <= gap <= interval for gap in gaps), (steps, interval, full)
        assert steps - full[-1] <= interval
        assert not last or full[-1] == steps - 1
        assert full[: min(warmup, steps)] == tuple(range(min(warmup, steps)))


def test_even_windows_differ_by_at_most_one_step() -> None:
    for steps, interval in EVERY:
        full = full_steps(steps, interval, "even")
        gaps = [b - a for a, b in itertools.pairwise(full)]
        assert not gaps or max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize("shift", [0.3, 1.0, 3.0, 7.0])
def test_timed_has_as_many_full_steps_as_even_from_the_first_to_the_last(shift) -> None:
    for steps, interval in EVERY:
        for warmup in (1, 3):
            even = full_steps(steps, interval, "even", warmup)
            timed = full_steps(
                steps, interval, "timed", warmup, True, schedule.shifted(steps, shift)
            )
            assert len(timed) == len(even)
            assert timed[:warmup] == even[:warmup] and timed[-1] == even[-1]


def test_timed_with_an_open_end_has_as_many_full_steps_and_half_a_window_behind_them() -> None:
    for steps, interval in EVERY:
        closed, full = (full_steps(steps, interval, last=last) for last in (True, False))
        assert len(full) == len(closed)
        if 1 < len(closed) < steps:
            length = (steps - 1) / (len(full) - 0.5)
            assert all(abs(b - a - length) < 1 for a, b in itertools.pairwise(full))
            assert abs(steps - 1 - full[-1] - length / 2) <= 0.5


def test_timed_without_times_is_even() -> None:
    for steps, interval in EVERY:
        assert full_steps(steps, interval, "timed") == full_steps(steps, interval, "even")
        assert full_steps(steps, interval, times=[0.5] * steps) == full_steps(steps, interval)


def test_timed_ends_on_the_last_step_whatever_the_times_do() -> None:
    """A user's own noise levels need not fall at every step. Here step 7 is as far along as the last:
    3/4 7/8 + 1/4 (1 - 0.3125) / (1 - 0.5) = 1."""
    times = [1.0, 0.9, 0.9, 0.8, 0.7, 0.6, 0.6, 0.3125, 0.5]
    for interval in range(1, 9):
        full = full_steps(9, interval, times=times)
        assert (full[0], full[-1], len(full)) == (0, 8, len(full_steps(9, interval, "even")))


def test_timed_is_drawn_to_where_the_time_falls_fast() -> None:
    """The larger the shift, the later a flow's time falls, and the later stand the full steps."""
    sums = [sum(full_steps(50, 7, times=schedule.shifted(50, shift))) for shift in (1.0, 3.0, 7.0)]
    assert sums == sorted(sums) and sums[0] < sums[-1]


def test_timed_golden() -> None:
    """Time that falls at the end alone, at the beginning not at all: the middle of
    3/4 i/4 + 1/4 (1 - t) = 0, 0.19, 0.38, 0.56, 1 is nearest to step 3 (one that falls: test_windows)."""
    assert full_steps(5, 2, times=[1, 1, 1, 1, 0]) == (0, 3, 4)


@pytest.mark.parametrize("shift", [0.0, -1.0, float("inf"), float("nan")])
def test_a_shift_that_is_none_is_refused(shift) -> None:
    with pytest.raises(ConfigError, match="give a number above 0, such as 3"):
        schedule.shifted(10, shift)


def test_even_needs_no_more_full_steps_than_windows_of_n_do() -> None:
    for steps, interval in EVERY:
        windows = -(-(steps - 1) // interval)  # ceil
        assert len(full_steps(steps, interval, "even")) == windows + 1


def test_interval_one_is_full_everywhere() -> None:
    for placement in schedule.placements():
        assert full_steps(9, 1, placement) == tuple(range(9))


def test_warmup_placement_is_the_papers() -> None:
    assert full_steps(50, 8, "warmup", 3) == (0, 1, 2, 10, 18, 26, 34, 42, 49)
    assert full_steps(50, 8, "warmup", 3, last=False) == (0, 1, 2, 10, 18, 26, 34, 42)
    assert full_steps(50, 5, "warmup", 3) == (0, 1, 2, 7, 12, 17, 22, 27, 32, 37, 42, 47, 49)


def test_even_golden() -> None:
    assert full_steps(50, 8) == (0, 7, 14, 21, 28, 35, 42, 49)
    assert full_steps(12, 4) == (0, 4, 7, 11)  # 11/3 and 22/3 rounded
    assert full_steps(12, 4, "even", last=False) == (0, 4, 8)  # a tail of three forecasts
    assert full_steps(13, 4, "even", last=False, warmup=3) == (0, 1, 2, 6, 10)
    assert full_steps(12, 4, last=False) == (0, 3, 6, 9)  # multiples of 11 / 3.5, rounded


def test_an_interval_above_the_steps_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"interval 13 is above the 12 sampling steps.*1 to 12"):
        full_steps(12, 13)


def test_walk_golden() -> None:
    """Figure 3 with N = 3, a warm-up of three, and a tail: derived by hand."""
    passes = walk(11, (0, 1, 2, 5, 8), logarithmic, Reflection())
    assert render(passes) == "0F 1F 2F 3f 4f 5F 3r 4r 5r 6f 7f 8F 6r 7r 8r 9f 10f"


def test_walk_without_reflection_visits_every_step_once() -> None:
    passes = walk(11, (0, 4, 8), logarithmic, Reflection(on=False))
    assert [p.step for p in passes] == list(range(11))


def test_walk_skips_the_windows_it_is_told_to() -> None:
    full = (0, 3, 6, 9)
    no_first = walk(10, full, logarithmic, Reflection(first_window=False))
    no_last = walk(10, full, logarithmic, Reflection(last_window=False))
    assert sorted({p.step for p in no_first if p.kind is Kind.REFLECT}) == [4, 5, 6, 7, 8, 9]
    assert sorted({p.step for p in no_last if p.kind is Kind.REFLECT}) == [1, 2, 3, 4, 5, 6]


def test_reflection_never_adds_a_full_pass() -> None:
    for steps, interval in EVERY:
        on = ZCacheConfig(interval=interval).plan(steps)
        off = ZCacheConfig(interval=interval, reflect=False).plan(steps)
        assert on.count(Kind.FULL) == off.count(Kind.FULL) == len(on.full_steps)
        assert on.count(Kind.FORECAST) == off.count(Kind.FORECAST)


def test_weights_of_a_walk_rise_to_one_at_the_anchor() -> None:
    weights = {}
    for p in ZCacheConfig.paper(5).plan(50).walk:
        if p.kind is Kind.FULL:
            weights = {"stop": p.step, "last": 0.0}
        elif p.kind is Kind.REFLECT:
            assert weights["last"] < p.weight <= 1
            assert (p.weight == 1.0) == (p.step == weights["stop"])
            weights["last"] = p.weight


# Full steps and reflect passes that reproduce the printed FLOPs of Tables 1 to 3.
COUNTS = {
    "flux-dev/taylorseer/6": (11, 0),
    "flux-dev/taylorseer/7": (10, 0),
    "flux-dev/taylorseer/8": (9, 0),
    "flux-dev/z-cache/7": (11, 35),
    "flux-dev/z-cache/8": (10, 32),
    "flux-dev/z-cache/9": (9, 36),
    "hunyuan-video/taylorseer/5": (10, 0),
    "hunyuan-video/taylorseer/7": (8, 0),
    "hunyuan-video/z-cache/5": (10, 40),
    "hunyuan-video/z-cache/7": (8, 35),
    "dit-xl-2/taylorseer/5": (11, 0),
    "dit-xl-2/taylorseer/6": (10, 0),
    "dit-xl-2/taylorseer/7": (8, 0),
    "dit-xl-2/z-cache/5": (11, 40),
    "dit-xl-2/z-cache/6": (10, 36),
    "dit-xl-2/z-cache/7": (8, 35),
}


@pytest.mark.parametrize("name", COUNTS)
def test_every_row_of_the_tables_has_its_full_steps(name: str) -> None:
    plan = rows.row(name).config.plan(50)
    assert (plan.count(Kind.FULL), plan.count(Kind.REFLECT)) == COUNTS[name]


def test_no_row_is_left_out() -> None:
    assert set(COUNTS) == set(rows.ROWS)


def test_an_unknown_row_is_named() -> None:
    with pytest.raises(ConfigError, match="flux-dev/z-cache/3"):
        rows.row("flux-dev/z-cache/3")
