"""TeaCache's decision: the published rule, and the one that scales its threshold to the run."""

import pytest

from zcache.method.teacache import COEFFICIENTS, IDENTITY, Accumulator, rescale

# The published polynomials, highest power first, as printed by their authors, at a distance of 0.1
# and added up term by term: c4 1e-4 + c3 1e-3 + c2 1e-2 + c1 1e-1 + c0.
AT_A_TENTH = {
    "FluxTransformer2DModel": 0.0498651651 - 0.283781631 + 0.558554382 - 0.382021401 + 0.264230861,
    "HunyuanVideoTransformer3DModel": (
        0.0733226126 - 0.401131952 + 0.675869174 - 0.3149878 + 0.0961237896
    ),
}


@pytest.mark.parametrize("model", AT_A_TENTH)
def test_the_published_polynomials(model: str) -> None:
    assert rescale(COEFFICIENTS[model], 0.1) == pytest.approx(AT_A_TENTH[model], abs=1e-12)


def test_rescaling_is_a_polynomial_highest_power_first() -> None:
    """2 x^2 + 3 x + 5 at x = 10 is 235."""
    assert rescale((2.0, 3.0, 5.0), 10.0) == 235.0
    assert rescale(IDENTITY, 0.7) == 0.7


def test_the_threshold_itself_is_enough() -> None:
    accumulator = Accumulator(IDENTITY, 1.0, 5)
    assert [accumulator.is_full(0.5) for _ in range(4)] == [False, True, False, True]


def test_distances_are_rescaled_before_they_are_added_up() -> None:
    """x + 1: three distances of 0.5 are 4.5, so a threshold of 4 is reached at the third."""
    accumulator = Accumulator((1.0, 1.0), 4.0, 5)
    assert [accumulator.is_full(0.5) for _ in range(3)] == [False, False, True]


def test_a_full_step_for_another_reason_starts_the_sum_anew() -> None:
    accumulator = Accumulator(IDENTITY, 1.0, 5)
    assert not accumulator.is_full(0.9)
    accumulator.restart()
    assert [accumulator.is_full(0.9) for _ in range(2)] == [False, True]


def test_a_restart_keeps_the_mean_of_the_run() -> None:
    """Without a threshold: distances 1, 1, 4 have the mean 2, and two times that is 4: full."""
    accumulator = Accumulator(IDENTITY, None, 2)
    assert not accumulator.is_full(1.0)
    accumulator.restart()
    assert not accumulator.is_full(1.0)
    accumulator.restart()
    assert accumulator.is_full(4.0)
    assert (accumulator.seen, accumulator.count) == (6.0, 3)
