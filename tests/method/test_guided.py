from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zcache import ZCacheConfig
from zcache.method.guided import leads_astray
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


@given(FULL_STEPS, SHIFTS, SCALES, SCALES)
def test_stronger_guidance_leads_astray_where_weaker_does(
    full: list[int], shift: float, one: float, other: float
) -> None:
    """One that is told (1 is added) less than any that is added up."""
    times, (weak, strong) = shifted(50, shift), sorted((one, other))
    assert leads_astray(full, times, strong) or not leads_astray(full, times, weak)


@pytest.mark.parametrize("added", [1.0, 2.0, 6.0])
def test_steps_beside_each_other_lead_nowhere(added: float) -> None:
    assert not leads_astray([0], TIMES, added)
    assert not leads_astray(list(range(1000)), shifted(1000, 1.0), added)


@pytest.mark.parametrize(
    ("window", "added", "astray"),
    [
        (3, 3.0, False),  # 0.06 of the time, 0.07 are right
        (4, 3.0, True),
        (1, 5.0, True),  # even 0.02: 0.0175 are right
        (2, 4.0, True),  # 0.04: 0.0311
        (1, 4.0, False),
        (7, 2.0, False),  # 0.14: 0.28
        (7, 1.0, False),  # told
    ],
)
def test_windows_that_are_long_while_it_is_early(window: int, added: float, astray: bool) -> None:
    """0.28 / (g - 1)^2 of the time."""
    full = list(range(0, 50, window))
    assert leads_astray(full, TIMES, added) == astray


@pytest.mark.parametrize(
    ("last", "added", "told"), [(14, False, False), (15, True, False), (19, True, True)]
)
def test_one_long_window_is_enough(last: int, added: bool, told: bool) -> None:
    """Behind short ones one of 0.28, 0.30 or 0.38 of the time."""
    full = [*range(0, 32, 2), 30 + last]
    assert leads_astray(full, TIMES, 2.0) == added
    assert leads_astray(full, TIMES) == told


def test_a_base_a_fit_and_a_run_without_reflection_keep_their_own() -> None:
    full, usual = [0, 20, 49], ZCacheConfig()
    assert usual.guided_base(full, 50) == usual.guided_base(full, 50, added=3.0) == "fora"
    for added in (1.0, 3.0):
        assert usual.guided_base(range(0, 50, 2), 50, added=added) == "damped"
    for own in ({"base": "taylorseer"}, {"reflect": False}):
        assert ZCacheConfig(**own).guided_base(full, 50) is None
    fitted = ZCacheConfig(full_steps=full, weight="fitted", factors=[0.5] * 50)
    assert fitted.guided_base(full, 50) is None
