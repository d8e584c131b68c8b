from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zcache import ZCacheConfig
from zcache.method.guided import leads_astray

FULL_STEPS = st.sets(st.integers(1, 49), max_size=20).map(lambda rest: sorted({0, *rest}))
SHIFTS = st.floats(0.5, 10)


def times(shift: float = 1.0, steps: int = 50) -> list[float]:
    return [shift * t / (1 + (shift - 1) * t) for t in (1 - k / steps for k in range(steps))]


@given(FULL_STEPS, SHIFTS)
def test_windows_cut_in_half_lead_less_astray(full: list[int], shift: float) -> None:
    halved = sorted({*full, *((a + b) // 2 for a, b in pairwise(full))})
    if all((b - a) % 2 == 0 for a, b in pairwise(full)) and leads_astray(halved, times(shift)):
        assert leads_astray(full, times(shift))


def test_steps_beside_each_other_lead_nowhere() -> None:
    for full in ([0], range(50)):
        assert not leads_astray(list(full), times())


@pytest.mark.parametrize(("window", "astray"), [(4, False), (5, True)])
def test_windows_that_are_long_while_it_is_early(window: int, astray: bool) -> None:
    """0.08 and 0.10 of the time."""
    assert leads_astray(list(range(0, 50 - window, window)), times()) == astray


@pytest.mark.parametrize(("last", "astray"), [(14, False), (15, True)])
def test_one_long_window_is_enough(last: int, astray: bool) -> None:
    """Behind short ones one of 0.28 or 0.30 of the time."""
    assert leads_astray([*range(0, 32, 2), 30 + last], times()) == astray


def test_a_guidance_that_is_told_leads_nowhere_astray() -> None:
    """Reuse is for guidance that is added up; and a base, a fit and a run without reflection keep their own."""
    full, usual = [0, 20, 49], ZCacheConfig()
    assert usual.guided_base(full, 50) == "fora"
    assert usual.guided_base(full, 50, told=True) == "damped"
    assert usual.guided_base(range(0, 50, 2), 50) == "damped"
    for own in ({"base": "taylorseer"}, {"reflect": False}):
        assert ZCacheConfig(**own).guided_base(full, 50) is None
    fitted = ZCacheConfig(full_steps=full, weight="fitted", factors=[0.5] * 50)
    assert fitted.guided_base(full, 50) is None
