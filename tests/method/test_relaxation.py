import pytest
from hypothesis import given
from hypothesis import strategies as st

from zcache.method.relaxation import LEAST, NAMES, fewest_full_steps, share

LEVELS = st.floats(0, 200)


@pytest.mark.parametrize("relax", [*NAMES, None, 0.0, 0.8, 1])
@given(start=LEVELS, stop=LEVELS)
def test_a_share_is_from_nothing_to_all(relax, start, stop) -> None:
    """Also in inversion, where the noise rises."""
    assert 0 <= share(relax, start, stop) <= 1


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


def test_a_guided_flow_keeps_more_of_short_and_of_late_windows() -> None:
    """0.6 max(0.08 / h, (1 - t_start) / 0.6)^2, neither above 1; a quarter of that in a long first window."""
    assert share("time", 1.0, 0.93, guided=True) == share("time", 0.4, 0.0, guided=True) == 0.6
    assert share("time", 1.0, 0.84, guided=True) == pytest.approx(0.6 * 0.25)
    assert share("time", 0.7, 0.5, guided=True) == pytest.approx(0.6 * 0.25)
    assert share("time", 1.0, 0.0, guided=True) == pytest.approx(0.6 * 0.0064)
    assert share("time", 1.0, 0.97, guided=True, first=True) == 0.6
    assert share("time", 1.0, 0.84, guided=True, first=True) == pytest.approx(0.6 * 0.0625)
    assert share("time", 1.0, 0.84, first=True) == share("time", 1.0, 0.84)
    for relax in ("sigma", 0.8, None):
        assert share(relax, 1.0, 0.5, guided=True) == share(relax, 1.0, 0.5)


@given(st.floats(0.01, 1), st.floats(0.01, 1), st.floats(0.01, 1))
def test_a_guided_flow_keeps_less_the_longer_and_the_earlier_a_window_is(
    a: float, b: float, c: float
) -> None:
    late, middle, early = sorted((a, b, c))
    kept = share("time", early, middle, guided=True)
    assert 0 < kept <= 0.6
    assert share("time", early, late, guided=True) <= kept
    length = early - middle
    assert (
        share("time", max(early - 0.1, length), max(early - 0.1, length) - length, guided=True)
        >= kept - 1e-9
    )


def test_a_careful_guided_flow_keeps_less_of_windows_longer_than_a_fifth() -> None:
    """Of 0.4 flow's time (0.2 / 0.4)^2 = a quarter of what others keep, never more than these."""
    assert share("time", 0.9, 0.5, careful=True) == pytest.approx(share("time", 0.9, 0.5) / 4)
    for start, stop in ((1.0, 0.85), (0.5, 0.3), (0.2, 0.0)):
        assert share("time", start, stop, careful=True) == pytest.approx(share("time", start, stop))
    for relax in (None, 0.7, "sigma"):
        assert share(relax, 1.0, 0.5, careful=True) == share(relax, 1.0, 0.5)


@pytest.mark.parametrize(
    ("guidance", "fewest"),
    [(0.0, 0), (1.0, 0), (1.5, 1), (4.0, 4), (4.0000001, 4), (6.0, 7), (7.5, 9), (8.0, 10)],
)
def test_strong_guidance_asks_for_full_steps(guidance: float, fewest: int) -> None:
    """4/3 of a full step for every unit above 1; what a least squares adds to a scale adds none."""
    assert fewest_full_steps(guidance) == fewest
