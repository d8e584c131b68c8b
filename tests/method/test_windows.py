"""How long windows are: a flow's grow from its beginning on."""

from __future__ import annotations

import itertools

import pytest

from zcache.method import windows
from zcache.method.schedule import full_steps, shifted

EVERY = list(itertools.product((1, 2, 3, 5, 10, 13, 20, 28, 50), (1, 2, 3, 4, 5, 7, 10)))
EVERY = [(steps, interval) for steps, interval in EVERY if interval <= steps]
SHIFTS = (0.3, 1.0, 3.0, 7.0)


def grown(steps: int, interval: int, shift: float, warmup: int = 1) -> tuple[int, ...]:
    return full_steps(steps, interval, "timed", warmup, times=shifted(steps, shift))


@pytest.mark.parametrize("shift", SHIFTS)
def test_windows_that_grow_are_as_many_from_the_first_step_to_the_last(shift: float) -> None:
    for steps, interval in EVERY:
        for warmup in (1, 3):
            even, full = (
                full_steps(steps, interval, "even", warmup),
                grown(steps, interval, shift, warmup),
            )
            assert len(full) == len(even)
            assert full[:warmup] == even[:warmup] and full[-1] == even[-1]


def test_the_more_the_time_falls_early_the_earlier_they_stand() -> None:
    sums = [sum(grown(50, 5, shift)) for shift in (1.0, 2.0, 3.0, 5.0, 7.0)]
    assert sums == sorted(sums) and sums[0] < sum(full_steps(50, 5, "even")) < sums[-1]


def test_a_time_that_falls_faster_early_than_evenly_draws_no_more_than_that() -> None:
    """At a shift of 0.3 it begins 2.8 times as fast; full steps there are denser than the last by 4 all the same, and
    by what `PULL` of the time, 2.8 and 0.4 as fast, adds: (0.75 + 0.25 x 2.8 + 4) / (0.75 + 0.25 x 0.4) = 6.4."""
    gaps = [b - a for a, b in itertools.pairwise(grown(1000, 50, 0.3))]
    assert 5.5 < max(gaps) / gaps[1] < 6.5


def test_a_first_window_is_no_single_step_where_windows_are_two_or_more_there() -> None:
    """At least two steps if the first would be with the others' length."""
    assert grown(50, 5, 1.0)[:3] == (0, 2, 4)
    assert grown(50, 2, 1.0)[:3] == (0, 1, 2)


def test_windows_grow() -> None:
    """Each as long as the one before or longer, up to rounding, where the time falls evenly."""
    for interval in (5, 7, 10):
        lengths = [b - a for a, b in itertools.pairwise(grown(50, interval, 1.0))]
        assert all(longer >= shorter - 1 for shorter, longer in itertools.pairwise(lengths))
        assert lengths[-1] >= 3 * lengths[0]


def test_growing_golden() -> None:
    """Time that falls evenly: x = step / 49 is 0.6 (x + 4/6 (1 - (1 - x)^6)) along the way: 0.113, 0.252, 0.392,
    0.539, 0.701, 0.853 at steps 2, 5, 9, 15, 25, 37. Seven windows, the first 0.6 as long: ends at 0.6/6.6 = 0.091,
    then 0.242, 0.394, 0.545, 0.697, 0.848. With 0.5 it would end at 0.077, nearest to step 1 at 0.059."""
    assert grown(50, 7, 1.0) == (0, 2, 5, 9, 15, 25, 37, 49)


def test_the_stronger_windows_grow_the_earlier_full_steps_stand() -> None:
    """Time that falls evenly. At a growth of 0 seven windows are equally long but for the first, half of the others:
    ends at 0.5/6.5 = 0.077 of 49 steps, then 0.231, 0.385, 0.538, 0.692, 0.846."""
    times, even = shifted(50, 1.0), full_steps(50, 7, "even")
    grown_by = {growth: windows.spread(even, times, growth) for growth in (0.0, 1.0, 2.0, 4.0, 8.0)}
    assert tuple(grown_by[0.0]) == (0, 4, 11, 19, 26, 34, 41, 49)
    sums = [sum(steps) for steps in grown_by.values()]
    assert sums == sorted(sums, reverse=True) and len(set(sums)) == len(sums)
    assert grown_by[4.0] == windows.spread(even, times)


def test_a_first_window_ends_where_a_fifth_of_its_share_of_the_time_has_fallen() -> None:
    """Shift 3: of ten windows' 0.942 of the time 0.22 of a share is 0.0207. Three steps take 0.0208, so that the
    first is 0.6 as long as the others: 0.6/9.6 = 0.0625 of the way, nearest to step 2 at 0.057. Times that end at
    0.61, as of a picture that is refined elsewhere: 0.0085, and two steps take 0.0090."""
    assert grown(50, 5, 3.0) == (0, 2, 6, 11, 17, 23, 29, 35, 40, 45, 49)
    assert full_steps(50, 5, "timed", times=shifted(75, 3.0)[:50])[1] == 2


def test_fewer_times_than_steps_are_none() -> None:
    assert full_steps(10, 3, "timed", times=shifted(9, 1.0)) == full_steps(10, 3, "even")
    assert full_steps(10, 3, "timed", times=shifted(10, 1.0)) != full_steps(10, 3, "even")


def test_the_early_window_is_the_mean_of_the_first_half_of_the_windows() -> None:
    """Two of four windows, and of three: (1 - 0.6) / 2 and (1 - 0.4) / 2."""
    times = [1 - step / 50 for step in range(50)]
    assert windows.early_window([0, 8, 20, 30, 49], times) == pytest.approx(0.2)
    assert windows.early_window([0, 8, 30, 49], times) == pytest.approx(0.3)
    assert windows.early_window([0], times) == 0
