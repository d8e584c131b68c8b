import math

import pytest

from zcache import ConfigError, ZCacheConfig
from zcache.method import bases, weights

EVERY = pytest.mark.parametrize("name", weights.names())


@EVERY
def test_a_weight_rises_to_one_at_the_newer_anchor(name: str) -> None:
    weight = weights.resolve(name)
    for n in range(1, 20):
        values = [weight(j, n) for j in range(1, n + 1)]
        assert values == sorted(values)
        assert all(0 <= value <= 1 for value in values)
        assert values[-1] == 1.0


def test_the_logarithm_is_the_papers() -> None:
    """Sec. 3.3 at N = 3 and 7, in sampling order: log(j+1)/log(N+1)."""
    three = [round(weights.logarithmic(j, 3), 2) for j in (1, 2, 3)]
    seven = [round(weights.logarithmic(j, 7), 2) for j in range(1, 8)]
    assert three == [0.50, 0.79, 1.0]
    assert seven == [0.33, 0.53, 0.67, 0.77, 0.86, 0.94, 1.0]


def test_closed_forms() -> None:
    assert weights.linear(1, 4) == 0.25
    assert weights.quadratic(2, 4) == 0.25
    assert weights.square_root(1, 4) == 0.5
    assert weights.cosine(2, 4) == pytest.approx(0.5)
    assert weights.cosine(1, 3) == pytest.approx((1 - math.cos(math.pi / 3)) / 2)
    assert [weights.half(j, 3) for j in (1, 2, 3)] == [0.5, 0.5, 1.0]
    assert weights.future(1, 9) == 1.0


def test_a_user_can_register_a_weight_and_use_it_by_name() -> None:
    weights.register("cubic")(lambda j, n: (j / n) ** 3)
    try:
        walk = ZCacheConfig(interval=4, weight="cubic").plan(5).walk
        assert [p.weight for p in walk if p.weight] == [1 / 64, 8 / 64, 27 / 64, 1.0]
        with pytest.raises(ConfigError, match="'cubic' is registered already"):
            weights.register("cubic")(weights.linear)
    finally:
        weights.unregister("cubic")
    with pytest.raises(ConfigError, match="'cubic' is unknown"):
        weights.resolve("cubic")


def test_a_callable_is_a_weight() -> None:
    walk = ZCacheConfig(interval=2, weight=lambda j, n: 0.25).plan(3).walk
    assert [p.weight for p in walk if p.weight] == [0.25, 0.25]


def test_the_automatic_weight_is_linear_only_for_a_base_without_slope() -> None:
    for base, order in (("taylorseer", 1), ("taylorseer", 2), ("foca", 1), ("spectrum", 1)):
        assert ZCacheConfig(base=base, order=order).weight_function is weights.future
    for base, order in (("taylorseer", 0), ("fora", 1), ("teacache", 1)):
        assert ZCacheConfig(base=base, order=order).weight_function is weights.linear


def test_the_automatic_weight_interpolates_whatever_the_base() -> None:
    """At order 1 and between two anchors: a straight line through both."""
    for base in ("taylorseer", "fora", "teacache"):
        config = ZCacheConfig(base=base)
        strategy, weight = bases.resolve(base), config.weight_function
        for step in range(1, 4):
            factors = bases.blend(strategy, (0, 4), step, 1, weights.weight_at(weight, step, 0, 4))
            assert factors == pytest.approx((1 - step / 4, step / 4))
    assert ZCacheConfig().weight == weights.AUTOMATIC
    assert weights.AUTOMATIC in weights.choices()
    assert weights.AUTOMATIC not in weights.names()
