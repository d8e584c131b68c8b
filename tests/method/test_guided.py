from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zcache import ZCacheConfig
from zcache.method.guided import begins_with_neighbours, leads_astray, most_kept
from zcache.method.schedule import shifted

FULL_STEPS = st.sets(st.integers(1, 49), max_size=20).map(lambda rest: sorted({0, *rest}))
SHIFTS = st.floats(0.5, 10)
TIMES = shifted(50, 1.0)


SCALES = st.one_of(st.just(1.0), st.floats(1.6, 12))


@given(FULL_STEPS, SHIFTS, SCALES)
def test_windows_cut_in_half_lead_less_astray(full: list[int], shift: float, added: float) -> None:
    halved = sorted({*full, *((a + b) // 2 for a, b in pairwise(full))})
    even = all((b - a) % 2 == 0 for a, b in pairwise(full))
    if even and leads_astray(halved, shifted(50, shift), added):
        assert leads_astray(full, shifted(50, shift), added)


@given(FULL_STEPS, SHIFTS, st.floats(1.6, 12), st.floats(1.6, 12))
def test_stronger_guidance_leads_astray_where_weaker_does(
    full: list[int], shift: float, one: float, other: float
) -> None:
    times, (weak, strong) = shifted(50, shift), sorted((one, other))
    assert leads_astray(full, times, strong) or not leads_astray(full, times, weak)


@given(FULL_STEPS, SHIFTS)
def test_where_a_told_guidance_leads_astray_an_added_one_of_its_strength_does(
    full: list[int], shift: float
) -> None:
    times = shifted(50, shift)
    assert leads_astray(full, times, 3.5) or not leads_astray(full, times)


@pytest.mark.parametrize("added", [1.0, 2.0, 6.0])
def test_steps_beside_each_other_lead_nowhere(added: float) -> None:
    assert not leads_astray([0], TIMES, added)
    assert not leads_astray(list(range(1000)), shifted(1000, 1.0), added)


@pytest.mark.parametrize(
    ("window", "added", "astray"),
    [
        (4, 3.0, False),  # 0.08 of the time, 0.18 / 2 are right
        (5, 3.0, True),
        (8, 2.0, False),  # 0.16, of 0.18
        (10, 2.0, True),
        (3, 5.0, False),  # 0.06, of 0.07 at least
        (4, 5.0, True),
        (7, 1.0, False),  # told
    ],
)
def test_windows_that_are_long_while_it_is_early(window: int, added: float, astray: bool) -> None:
    full = list(range(0, 50, window))
    assert leads_astray(full, TIMES, added) == astray


@pytest.mark.parametrize(
    ("window", "added", "turned", "astray"),
    [
        (2, 2.0, 0.59, False),
        (2, 2.0, 0.61, True),
        (10, 1.0, 0.64, False),  # told: windows of 0.2 of the time
        (10, 1.0, 0.66, True),
        (5, 1.0, 1.29, False),
        (5, 1.0, 1.31, True),
    ],
)
def test_a_slope_is_not_trusted_where_outputs_turn_far(
    window: int, added: float, turned: float, astray: bool
) -> None:
    full, times = list(range(0, 50, window)), shifted(50, 1.0)
    assert leads_astray(full, times, added, turned) == astray
    base = ZCacheConfig().guided_base(full, 50, times, added, turned)
    assert base == ("fora" if astray else "damped")


@given(FULL_STEPS, SHIFTS, SCALES, st.floats(0, 3), st.floats(0, 3))
def test_outputs_that_turn_farther_lead_astray_where_others_do(
    full: list[int], shift: float, added: float, one: float, other: float
) -> None:
    times, (less, more) = shifted(50, shift), sorted((one, other))
    assert leads_astray(full, times, added, more) or not leads_astray(full, times, added, less)


@pytest.mark.parametrize(
    ("last", "added", "astray"),
    [
        (14, 3.0, False),  # 0.28 of the time, 0.58 / 2 are right
        (15, 3.0, True),
        (15, 2.5, False),  # 0.30, of 0.39
        (14, 6.0, False),  # 0.28, of 0.29 at least
        (15, 6.0, True),
        (17, 1.0, False),  # 0.34 of 0.36: told
        (19, 1.0, True),
    ],
)
def test_one_long_window_is_enough(last: int, added: float, astray: bool) -> None:
    """Behind short ones."""
    full = [*range(0, 32, 2), 30 + last]
    assert leads_astray(full, TIMES, added) == astray


@pytest.mark.parametrize(
    ("window", "added", "kept"),
    [
        (2, 3.0, 1.0),  # 0.04 of the time, 0.2 / 2^2 are right
        (3, 3.0, 0.05 / 0.06),
        (1, 5.0, 0.0125 / 0.02),
        (2, 5.0, 0.0125 / 0.04),
        (3, 5.0, 0.25),  # at least
        (7, 1.0, 1.0),  # told
        (7, 1.5, 1.0),
    ],
)
def test_the_stronger_the_guidance_and_the_longer_the_windows_the_less_is_kept(
    window: int, added: float, kept: float
) -> None:
    """0.2 / (g - 1)^2, by the mean window of the first half."""
    assert most_kept(list(range(0, 50, window)), TIMES, added) == pytest.approx(kept)


@given(FULL_STEPS, SHIFTS, st.floats(1.6, 12), st.floats(1.6, 12))
def test_a_share_is_kept_of_every_guidance_and_less_of_a_stronger(
    full: list[int], shift: float, one: float, other: float
) -> None:
    times, (weak, strong) = shifted(50, shift), sorted((one, other))
    assert 0.25 <= most_kept(full, times, strong) <= most_kept(full, times, weak) <= 1


def test_a_base_a_fit_and_a_run_without_reflection_keep_their_own() -> None:
    full, usual = [0, 20, 49], ZCacheConfig()
    assert usual.guided_base(full, 50) == usual.guided_base(full, 50, added=3.0) == "fora"
    for added in (1.0, 3.0):
        assert usual.guided_base(range(0, 50, 2), 50, added=added) == "damped"
    for own in ({"base": "taylorseer"}, {"reflect": False}):
        assert ZCacheConfig(**own).guided_base(full, 50) is None
    fitted = ZCacheConfig(full_steps=full, weight="fitted", factors=[0.5] * 50)
    assert fitted.guided_base(full, 50) is None


@pytest.mark.parametrize(
    ("full", "do"),
    [
        ([0, 1, 4], True),
        ([0, 1, 3, 4], True),
        ([0, 1, 2, 9], False),
        ([0, 2, 4], False),
        ([0, 1], False),
        ([0], False),
    ],
)
def test_two_neighbours_before_a_longer_window(full: list[int], do: bool) -> None:
    assert begins_with_neighbours(full) == do
