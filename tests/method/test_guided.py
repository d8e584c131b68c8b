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


@given(FULL_STEPS, SHIFTS, st.booleans())
def test_windows_cut_in_half_lead_less_astray(full: list[int], shift: float, told: bool) -> None:
    halved = sorted({*full, *((a + b) // 2 for a, b in pairwise(full))})
    even = all((b - a) % 2 == 0 for a, b in pairwise(full))
    if even and leads_astray(halved, shifted(50, shift), told):
        assert leads_astray(full, shifted(50, shift), told)


@given(FULL_STEPS, SHIFTS)
def test_where_a_told_guidance_leads_astray_an_added_one_does(
    full: list[int], shift: float
) -> None:
    assert leads_astray(full, shifted(50, shift)) or not leads_astray(
        full, shifted(50, shift), told=True
    )


@pytest.mark.parametrize("told", [False, True])
def test_steps_beside_each_other_lead_nowhere(told: bool) -> None:
    for full in ([0], range(50)):
        assert not leads_astray(list(full), TIMES, told)


@pytest.mark.parametrize(("window", "astray"), [(4, False), (5, True)])
def test_windows_that_are_long_while_it_is_early(window: int, astray: bool) -> None:
    """0.08 and 0.10 of the time; told it may be more."""
    full = list(range(0, 50 - window, window))
    assert leads_astray(full, TIMES) == astray
    assert not leads_astray(full, TIMES, told=True)


@pytest.mark.parametrize(
    ("last", "added", "told"), [(14, False, False), (15, True, False), (19, True, True)]
)
def test_one_long_window_is_enough(last: int, added: bool, told: bool) -> None:
    """Behind short ones one of 0.28, 0.30 or 0.38 of the time."""
    full = [*range(0, 32, 2), 30 + last]
    assert leads_astray(full, TIMES) == added
    assert leads_astray(full, TIMES, told=True) == told


def test_a_base_a_fit_and_a_run_without_reflection_keep_their_own() -> None:
    full, usual = [0, 20, 49], ZCacheConfig()
    assert usual.guided_base(full, 50) == usual.guided_base(full, 50, told=True) == "fora"
    for told in (False, True):
        assert usual.guided_base(range(0, 50, 2), 50, told=told) == "damped"
    for own in ({"base": "taylorseer"}, {"reflect": False}):
        assert ZCacheConfig(**own).guided_base(full, 50) is None
    fitted = ZCacheConfig(full_steps=full, weight="fitted", factors=[0.5] * 50)
    assert fitted.guided_base(full, 50) is None
