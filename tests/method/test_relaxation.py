import pytest
from hypothesis import given
from hypothesis import strategies as st

from zcache.method.relaxation import LEAST, NAMES, share

LEVELS = st.floats(0, 200)


@pytest.mark.parametrize("relax", [*NAMES, None, 0.0, 0.8, 1])
@given(start=LEVELS, stop=LEVELS)
def test_a_share_is_from_nothing_to_all(relax, start, stop) -> None:
    assert 0 <= share(relax, max(start, stop), min(start, stop)) <= 1


@pytest.mark.parametrize("relax", [*NAMES, None])
def test_all_is_kept_while_the_noise_level_stands_still(relax) -> None:
    assert share(relax, 0.5, 0.5) == 1.0
    assert share(relax, 0.0, 0.0) == 1.0


def test_golden_numbers() -> None:
    """2 stop / (start + stop)."""
    assert share("sigma", 1.0, 0.5) == share("time", 1.0, 0.5) == pytest.approx(2 / 3)
    assert share("sigma", 1.0, 0.2) == pytest.approx(1 / 3)
    assert share("time", 1.0, 0.2) == share("time", 0.5, 0.0) == LEAST == 0.4
    assert share("sigma", 0.5, 0.0) == 0.0
    assert share(0.8, 1.0, 0.1) == 0.8
    assert share(None, 1.0, 0.0) == 1.0


def test_a_guided_flow_keeps_half_at_most_and_an_eighth_of_its_first_window_by_time_alone() -> None:
    assert share("time", 1.0, 0.5, guided=True) == 0.5
    assert share("time", 1.0, 0.2, guided=True) == LEAST
    assert share("time", 1.0, 0.5, guided=True, first=True) == 0.125
    assert share("time", 1.0, 0.5, first=True) == pytest.approx(2 / 3)
    for relax in ("sigma", 0.8, None):
        assert share(relax, 1.0, 0.5, guided=True, first=True) == share(relax, 1.0, 0.5)
