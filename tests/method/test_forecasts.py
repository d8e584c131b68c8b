"""HiCache, FoCa and Spectrum: what they forecast exactly, and their published equations run literally."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.polynomial.hermite import hermval

from zcache.method import bases, spectrum, weights

ANCHORS = [(0, 5), (2, 3, 9), (0, 4, 8, 12), (0, 1, 2, 8, 15, 22)]
NEW = ("hicache", "foca", "spectrum")


def forecast(
    base: str, curve: Callable[[int], float], anchors: Sequence[int], step: int, order: int = 1
) -> float:
    factors = bases.resolve(base)(anchors, step, order)
    return sum(c * curve(k) for c, k in zip(factors, anchors[-len(factors) :], strict=True))


@pytest.mark.parametrize("base", [name for name in bases.names() if name != "spectrum"])
@pytest.mark.parametrize("order", range(4))
@pytest.mark.parametrize("anchors", [(3,), *ANCHORS])
def test_what_never_changes_is_forecast_exactly(
    base: str, order: int, anchors: tuple[int, ...]
) -> None:
    for step in range(-3, 30):
        assert forecast(base, lambda k: 7.0, anchors, step, order) == pytest.approx(7.0)


@pytest.mark.parametrize("base", ["taylorseer", *NEW])
@pytest.mark.parametrize("anchors", ANCHORS[:3])
def test_a_line_is_forecast_exactly_forwards_and_backwards(
    base: str, anchors: tuple[int, ...]
) -> None:
    for step in range(-3, 15):
        found = forecast(base, lambda k: 3.0 * k - 7.0, anchors, step)
        assert found == pytest.approx(3.0 * step - 7.0)


@pytest.mark.parametrize("weight", weights.names())
@pytest.mark.parametrize("base", ["taylorseer", *NEW])
def test_a_line_is_reflected_exactly_at_every_weight(base: str, weight: str) -> None:
    anchors = (0, 5, 10, 15)
    for step in range(11, 16):
        w = weights.weight_at(weights.resolve(weight), step, 10, 15)
        factors = bases.blend(bases.resolve(base), anchors, step, 1, w)
        used = anchors[-len(factors) :]
        assert sum(c * k for c, k in zip(factors, used, strict=True)) == pytest.approx(step)


# ---- HiCache ---------------------------------------------------------------------------------


@pytest.mark.parametrize("order", range(5))
@pytest.mark.parametrize("anchors", ANCHORS)
def test_hicache_is_taylorseer_on_scaled_physicists_polynomials(
    order: int, anchors: tuple[int, ...]
) -> None:
    """sigma^i H_i(sigma x) / i! in place of x^i / i!, H_i by numpy; the derivatives are what is left of
    TaylorSeer when one order after the other is taken away."""
    sigma = math.sqrt(0.5)
    for step in (anchors[-1] - 2, anchors[-1], anchors[-1] + 1, anchors[-1] + 4):
        x, expected, before = step - anchors[-1], np.zeros(len(anchors)), np.zeros(len(anchors))
        for i in range(order + 1):
            one_on = bases.taylorseer(anchors, anchors[-1] + 1, i)
            now = np.pad(one_on, (len(anchors) - len(one_on), 0))
            derivative = (now - before) * math.factorial(i)  # at x = 1
            polynomial = hermval(sigma * x, [0.0] * i + [1.0])
            expected += derivative * sigma**i * polynomial / math.factorial(i)
            before = now
        found = bases.hicache(anchors, step, order)
        assert found == pytest.approx(tuple(expected[len(anchors) - len(found) :]))


def test_hicache_of_order_two_by_hand() -> None:
    """y = x^2 at 2, 3, 4 has D1 = 7 and D2 = 2; with 2 sigma^2 = 1 the second polynomial is
    sigma^2 (4 sigma^2 x^2 - 2) / 2 = (x^2 - 1) / 2. So 5 has 16 + 7 + 0, and 6 has 16 + 14 + 3."""
    square = {5: 23.0, 6: 33.0}
    for step, expected in square.items():
        found = forecast("hicache", lambda k: float(k * k), (2, 3, 4), step, 2)
        assert found == pytest.approx(expected)


def test_hicache_of_order_one_is_taylorseer() -> None:
    for order in (0, 1):
        assert bases.hicache((0, 4, 8), 11, order) == bases.taylorseer((0, 4, 8), 11, order)


# ---- FoCa ------------------------------------------------------------------------------------


def published_foca(
    curve: Callable[[int], float], anchors: Sequence[int], last: int
) -> dict[int, float]:
    """Equations 6 to 8 run over every step: a window of the two newest features, computed or forecast, and the
    slope between the two newest computed ones; begun behind the second, as if the step before it had been on the
    line through both."""
    full, now = anchors[1], curve(anchors[1])
    slope_of_full = (now - curve(anchors[0])) / (full - anchors[0])
    before, features = now - slope_of_full, {}
    for step in range(full + 1, last + 1):
        if step in anchors:
            slope_of_full = (curve(step) - curve(full)) / (step - full)
            before, now, full = now, curve(step), step
        else:
            predicted = 4 / 3 * now - before / 3 + 2 / 3 * (now - before)  # (7)
            slope_there = (3 * predicted - 4 * now + before) / 2  # (6)
            now, before = now + (slope_of_full + slope_there) / 2, now  # (8)
        features[step] = now
    return features


@pytest.mark.parametrize("anchors", [(0, 5), (0, 5, 10), (0, 1, 2, 8, 15, 22), (3, 4, 12, 13)])
def test_foca_is_its_equations_run_step_by_step(anchors: tuple[int, ...]) -> None:
    def curve(k: int) -> float:
        return float((k * 37 + 11) % 17)

    expected = published_foca(curve, anchors, anchors[-1] + 6)
    for step in range(anchors[-1] + 1, anchors[-1] + 7):
        assert forecast("foca", curve, anchors, step) == pytest.approx(expected[step])


def test_foca_on_a_parabola_by_hand() -> None:
    """y = k^2 at 0, 2, 4. Behind 2 there is the line of slope 2, so step 3 has 6. At 4, d = 16 - 6 = 10 and s = 6:
    step 5 has 16 + 6 + 4 / 2 = 24, step 6 has 16 + 12 + 4 * 3/4 = 31."""
    square = {5: 24.0, 6: 31.0}
    for step, expected in square.items():
        assert forecast("foca", lambda k: float(k * k), (0, 2, 4), step) == pytest.approx(expected)


def test_before_the_newest_anchor_foca_is_the_line() -> None:
    for step in (5, 8, 10):
        assert bases.foca((0, 5, 10), step, 2) == bases.taylorseer((0, 5, 10), step, 1)


def test_the_order_plays_no_part_in_foca_and_spectrum() -> None:
    anchors = (0, 4, 8, 12, 16, 20)
    for base in (bases.foca, bases.spectrum):
        assert len({base(anchors, 22, order) for order in range(5)}) == 1


# ---- Spectrum --------------------------------------------------------------------------------


def test_the_columns_are_chebyshevs_cosines() -> None:
    """T_m(cos a) = cos(m a), and step 25 (1 + cos a) has tau = cos a."""
    for angle in (0.0, 0.4, 1.3, 2.9, math.pi):
        columns = spectrum.chebyshev(25 * (1 + math.cos(angle)))
        assert columns == pytest.approx([math.cos(m * angle) for m in range(5)])


@pytest.mark.parametrize("degree", range(5))
def test_without_a_ridge_every_polynomial_up_to_the_degree_is_exact(degree: int) -> None:
    anchors = (0, 4, 11, 18, 25, 31)
    for step in (2, 25, 34):
        factors = spectrum.fitted(anchors, step, ridge=1e-12)
        found = sum(c * (k / 10) ** degree for c, k in zip(factors, anchors, strict=True))
        assert found == pytest.approx((step / 10) ** degree, abs=1e-5)


def test_the_fit_of_a_constant_and_of_a_line_by_hand() -> None:
    """Degree 0: the sum of n features over n + lambda. Degree 1 at tau = -1 and 1: the normal matrix is
    (2 + lambda) I, so the factors are (1 + tau tau_i) / (2 + lambda)."""
    assert spectrum.fitted((3, 9, 30), 40, degree=0, ridge=0.1) == pytest.approx([1 / 3.1] * 3)
    tau = 2 * 40 / 50 - 1
    expected = [(1 - tau) / 2.1, (1 + tau) / 2.1]
    assert spectrum.fitted((0, 50), 40, degree=1, ridge=0.1) == pytest.approx(expected)


def test_the_fit_is_ridge_regression() -> None:
    anchors, step, ridge = (0, 1, 2, 3, 4, 9, 15, 22, 30, 39), 44, 0.1
    x = np.polynomial.chebyshev.chebvander(np.array(anchors) / 25 - 1, 4)
    new = np.polynomial.chebyshev.chebvander(np.array([step]) / 25 - 1, 4)
    expected = new @ np.linalg.solve(x.T @ x + ridge * np.eye(5), x.T)
    assert spectrum.fitted(anchors, step, ridge=ridge) == pytest.approx(list(expected[0]))


def test_spectrum_is_half_the_fit_and_half_the_line() -> None:
    anchors = (0, 4, 8, 12, 16)
    fit = np.array(spectrum.fitted(anchors, 18))
    line = np.array([0.0, 0.0, 0.0, -0.5, 1.5])  # half a window beyond the newest
    assert bases.spectrum(anchors, 18, 1) == pytest.approx(tuple((fit + line) / 2))
    assert bases.spectrum(anchors[:4], 14, 1) == (-0.5, 1.5)


@pytest.mark.parametrize("interval", range(2, 11))
def test_the_ridge_shrinks_what_never_changes_by_four_percent_at_most(interval: int) -> None:
    known = range(0, 50, interval)
    for count in range(1, len(known) + 1):
        for step in range(known[count - 1] + 1, min(known[count - 1] + interval, 50)):
            assert 0.96 < sum(bases.spectrum(known[:count], step, 1)) < 1.01


def test_spectrum_remembers_ten_anchors() -> None:
    anchors = tuple(range(0, 60, 4))
    assert bases.spectrum(anchors, 58, 1) == bases.spectrum(anchors[-10:], 58, 1)
    assert len(bases.spectrum(anchors, 58, 1)) == 10


# ---- how many anchors are held ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "order", "used"),
    [("taylorseer", 2, 3), ("fora", 2, 1), ("hicache", 2, 3), ("foca", 0, 16), ("spectrum", 1, 10)],
)
def test_a_base_says_how_many_anchors_it_uses(base: str, order: int, used: int) -> None:
    assert bases.reach(bases.resolve(base), order) == used
