"""Base strategies are factors of anchors; checked against the published recursion written on
numbers."""

import pytest
import torch

from zcache.caching.features import combine
from zcache.method import bases, weights
from zcache.method.teacache import COEFFICIENTS, IDENTITY, Accumulator, rescale


def published_taylorseer(values: dict[int, float], step: int, order: int) -> float:
    """The recursion as published: one store of factors, updated at each full step with the newest
    distance."""
    store: list[float] = []
    previous = None
    for anchor, value in values.items():
        new = [value]
        for i in range(order):
            if previous is None or i >= len(store):
                break
            new.append((new[i] - store[i]) / (anchor - previous))
        store, previous = new, anchor
    x, total, factorial = step - previous, 0.0, 1.0
    for i, factor in enumerate(store):
        factorial *= max(i, 1)
        total += factor * x**i / factorial
    return total


def forecast(base: str, values: dict[int, float], step: int, order: int) -> float:
    factors = bases.resolve(base)(tuple(values), step, order)
    return sum(c * v for c, v in zip(factors, list(values.values())[-len(factors) :], strict=True))


@pytest.mark.parametrize("order", range(5))
@pytest.mark.parametrize("anchors", [(0,), (0, 5), (0, 1, 2, 8), (3, 7, 8, 15, 22)])
def test_taylorseer_is_the_published_recursion(order: int, anchors: tuple[int, ...]) -> None:
    values = {step: float((step * 37 + 11) % 17) for step in anchors}
    for step in (anchors[-1] - 2, anchors[-1], anchors[-1] + 1, anchors[-1] + 4):
        expected = published_taylorseer(values, step, order)
        assert forecast("taylorseer", values, step, order) == pytest.approx(expected)


@pytest.mark.parametrize("anchors", [(0, 5), (2, 3, 9)])
def test_order_one_is_exact_on_a_line_forwards_and_backwards(anchors: tuple[int, ...]) -> None:
    values = {step: 3.0 * step - 7.0 for step in anchors}
    for step in range(-3, 15):
        assert forecast("taylorseer", values, step, 1) == pytest.approx(3.0 * step - 7.0)


def test_order_two_is_the_published_formula_not_a_polynomial_through_the_data() -> None:
    """y = x^2 at 2, 3, 4: D1 = 7, D2 = 2, so at 5 it says 16 + 7 + 2/2 = 24, where the parabola has
    25."""
    assert forecast("taylorseer", {2: 4.0, 3: 9.0, 4: 16.0}, 5, 2) == pytest.approx(24.0)


@pytest.mark.parametrize("order", range(4))
@pytest.mark.parametrize("anchors", [(0,), (0, 4), (0, 1, 2, 8)])
def test_damped_is_half_of_the_way_from_reuse_to_taylorseer(
    anchors: tuple[int, ...], order: int
) -> None:
    values = {step: float((step * 37 + 11) % 17) for step in anchors}
    for step in (anchors[-1] - 1, anchors[-1], anchors[-1] + 3):
        reuse, whole = (forecast(base, values, step, order) for base in ("fora", "taylorseer"))
        assert forecast("damped", values, step, order) == pytest.approx((reuse + whole) / 2)


def test_damped_golden_numbers() -> None:
    """A line that rises by 1/4 a step, from 1 at 4: at 6 it stands at 1.5, half of its way at 1.25."""
    assert bases.damped((0, 4), 6, 1) == pytest.approx((-0.25, 1.25))
    assert bases.damped((4,), 6, 1) == (1.0,)


def test_order_zero_fora_and_teacache_reuse_the_newest_feature() -> None:
    values = {0: 2.0, 4: 5.0}
    assert forecast("taylorseer", values, 7, 0) == 5.0
    assert forecast("fora", values, 7, 3) == 5.0
    assert forecast("teacache", values, 7, 3) == 5.0


@pytest.mark.parametrize("base", bases.names())
@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_a_blend_is_the_average_of_both_forecasts(base: str, order: int, weight: float) -> None:
    values = {0: 2.0, 3: -1.0, 9: 4.0, 14: 0.5}
    anchors = tuple(values)
    for step in range(10, 15):
        past = forecast(base, {k: values[k] for k in anchors[:-1]}, step, order)
        future = forecast(base, values, step, order)
        factors = bases.blend(bases.resolve(base), anchors, step, order, weight)
        blended = sum(
            c * v for c, v in zip(factors, list(values.values())[-len(factors) :], strict=True)
        )
        assert blended == pytest.approx((1 - weight) * past + weight * future)


def test_a_blend_at_order_one_needs_three_anchors() -> None:
    factors = bases.blend(bases.taylorseer, (0, 4, 8, 12), 10, 1, 0.5)
    assert len(factors) == 3


def test_full_trust_at_order_one_is_linear_interpolation() -> None:
    """w = 1: the straight line between the two anchors of the window of its window."""
    factors = bases.blend(bases.taylorseer, (0, 4, 8), 5, 1, weights.future(1, 4))
    assert factors == pytest.approx((0.0, 0.75, 0.25))


def test_combine_returns_a_lone_feature_itself() -> None:
    features = [torch.randn(2), torch.randn(2)]
    assert combine(features, (0.0, 1.0)) is features[1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_combine_adds_up_in_single_precision(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    features = [torch.randn(4, 8).to(dtype) for _ in range(3)]
    factors = (-0.7, 1.4, 0.3)
    exact = sum(c * f.double() for c, f in zip(factors, features, strict=True))
    result = combine(features, factors)
    assert result.dtype == dtype
    torch.testing.assert_close(result, exact.to(dtype), rtol=0, atol=torch.finfo(dtype).eps * 2)


def test_combine_leaves_the_features_alone() -> None:
    a, b = torch.ones(2), torch.ones(2)
    combine([(a, (b,)), (b, (a,))], (2.0, 3.0))
    assert a.tolist() == b.tolist() == [1.0, 1.0]


def test_a_lone_feature_with_another_factor_is_scaled() -> None:
    assert combine([torch.ones(2), torch.ones(2)], (0.0, 3.0)).tolist() == [3.0, 3.0]


def test_half_precision_is_rounded_once_at_the_end() -> None:
    """2048 + 1 + 1: float16 has steps of 2 there, so each single 1 would be rounded away; bfloat16
    likewise at 256."""
    for dtype, large in ((torch.float16, 2048.0), (torch.bfloat16, 256.0)):
        terms = [torch.tensor([value], dtype=dtype) for value in (large, 1.0, 1.0)]
        assert combine(terms, (1.0, 1.0, 1.0)).item() == large + 2


def test_combine_keeps_nesting() -> None:
    one, two = torch.tensor([1.0]), torch.tensor([2.0])
    assert combine([(one, (two, one)), (two, (one, one))], (1.0, 10.0)) == (
        torch.tensor([21.0]),
        (torch.tensor([12.0]), torch.tensor([11.0])),
    )


def test_published_flux_polynomial_at_known_points() -> None:
    """It never drops below 0.180, near a distance of 0.053."""
    flux = COEFFICIENTS["FluxTransformer2DModel"]
    assert rescale(flux, 0.0) == pytest.approx(0.264230861)
    assert rescale(flux, 0.053) == pytest.approx(0.180, abs=2e-3)
    assert min(rescale(flux, d / 1000) for d in range(400)) > 0.179


def test_teacache_accumulates_and_drops_the_excess() -> None:
    """Threshold 1, distances 0.4: full at the third (1.2), and the 0.2 above the threshold is not
    carried over."""
    accumulator = Accumulator(IDENTITY, 1.0, 5)
    assert [accumulator.is_full(0.4) for _ in range(6)] == [False, False, True] * 2


def test_teacache_without_threshold_keeps_the_interval_when_change_is_steady() -> None:
    accumulator = Accumulator(IDENTITY, None, 4)
    assert [accumulator.is_full(0.1) for _ in range(8)] == [False, False, False, True] * 2


def test_teacache_without_threshold_computes_sooner_where_more_changes() -> None:
    accumulator = Accumulator(IDENTITY, None, 4)
    for _ in range(4):
        accumulator.is_full(0.1)
    assert [accumulator.is_full(0.5) for _ in range(3)].index(True) < 3
