import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zcache.method.guided import leads_astray

FULL_STEPS = st.sets(st.integers(1, 49), max_size=20).map(lambda rest: sorted({0, *rest}))
SHIFTS = st.floats(0.5, 10)


def times(shift: float = 1.0, steps: int = 50) -> list[float]:
    return [shift * t / (1 + (shift - 1) * t) for t in (1 - k / steps for k in range(steps))]


@given(FULL_STEPS, SHIFTS)
def test_where_a_told_guidance_leads_astray_an_added_one_does(
    full: list[int], shift: float
) -> None:
    assert leads_astray(full, times(shift)) or not leads_astray(full, times(shift), told=True)


@given(FULL_STEPS, SHIFTS, st.booleans())
def test_more_full_steps_behind_the_same_ones_lead_less_astray(
    full: list[int], shift: float, told: bool
) -> None:
    """Every window halved is shorter early and late."""
    halved = sorted({*full, *((a + b) // 2 for a, b in itertools.pairwise(full))})
    whole = all((b - a) % 2 == 0 for a, b in itertools.pairwise(full))
    if whole and len(full) > 1 and leads_astray(halved, times(shift), told):
        assert leads_astray(full, times(shift), told)


@pytest.mark.parametrize("told", [False, True])
def test_steps_beside_each_other_lead_nowhere(told: bool) -> None:
    for full in ([0], range(50)):
        assert not leads_astray(list(full), times(), told)


@pytest.mark.parametrize(
    ("window", "count", "added", "told"),
    [
        (3, 10, False, False),  # 0.06 of the time
        (4, 10, False, False),  # 0.08
        (5, 10, True, False),  # 0.10
        (6, 8, True, True),  # 0.12
    ],
)
def test_windows_that_are_long_while_it_is_early(
    window: int, count: int, added: bool, told: bool
) -> None:
    full = [window * i for i in range(count)]
    assert leads_astray(full, times()) == added
    assert leads_astray(full, times(), told=True) == told


@pytest.mark.parametrize(
    ("last", "added", "told"), [(12, False, False), (15, True, False), (18, True, True)]
)
def test_one_long_window_is_enough(last: int, added: bool, told: bool) -> None:
    """Behind short ones one of 0.24, 0.30 and 0.36 of the time."""
    full = [*range(0, 32, 2), 30 + last]
    assert leads_astray(full, times()) == added
    assert leads_astray(full, times(), told=True) == told
