"""Laws of placement and fitted weights, on small random curves of which everything can be tried."""

from itertools import combinations, pairwise

import pytest

from zcache import ConfigError, ZCacheConfig, bases
from zcache.method import candidates, fitting, knots, schedule, windows
from zcache.method.config import FITTED

COSTS = [(cost, open_end) for cost in knots.names() for open_end in (False, True)]


def curve(num_steps: int = 9, width: int = 5, seed: int = 1) -> list[list[float]]:
    """A smooth random curve: each feature is the last one plus a change that itself changes slowly."""
    import random

    draw = random.Random(seed)
    row, change, rows = [0.0] * width, [draw.gauss(0, 1) for _ in range(width)], []
    for _ in range(num_steps):
        rows.append(list(row))
        change = [0.8 * c + draw.gauss(0, 0.5) for c in change]
        row = [r + c for r, c in zip(row, change, strict=True)]
    return rows


def gram_of(rows: list[list[float]]) -> list[list[float]]:
    return [[sum(x * y for x, y in zip(a, b, strict=True)) for b in rows] for a in rows]


TIMES = [1 - k / 10 for k in range(9)]
ROWS = curve()
GRAM = gram_of(ROWS)
LENGTHS = knots.step_lengths(TIMES)


def norm(vector: list[float]) -> float:
    return sum(x * x for x in vector) ** 0.5


def line(start: int, stop: int, k: int) -> list[float]:
    share = (k - start) / (stop - start)
    return [
        (1 - share) * a + share * b - r
        for a, b, r in zip(ROWS[start], ROWS[stop], ROWS[k], strict=True)
    ]


def test_costs_from_the_gram_matrix_are_those_of_the_features_themselves():
    for start, stop in combinations(range(9), 2):
        errors = [[LENGTHS[k] * x for x in line(start, stop, k)] for k in range(start + 1, stop)]
        total = norm([sum(column) for column in zip(*errors, strict=True)] if errors else [0.0])
        apart = sum(norm(error) ** 2 for error in errors) ** 0.5

        assert knots.signed(GRAM, LENGTHS, start, stop) == pytest.approx(total, abs=1e-7)
        assert knots.signed_squared(GRAM, LENGTHS, start, stop) == pytest.approx(total**2, abs=1e-7)
        assert knots.rms(GRAM, LENGTHS, start, stop) == pytest.approx(apart, abs=1e-7)


@pytest.mark.parametrize(("cost", "open_end"), COSTS)
@pytest.mark.parametrize("count", [2, 3, 5, 8])
def test_no_other_placement_costs_less(cost, open_end, count):
    def total(steps):
        power = 2 if cost == "signed squared" else 1
        tail = knots.tail_cost(GRAM, LENGTHS, *steps[-2:]) ** power if steps[-1] < 8 else 0.0
        return sum(knots.resolve(cost)(GRAM, LENGTHS, a, b) for a, b in pairwise(steps)) + tail

    tries = [(0, *rest) for rest in combinations(range(1, 9), count - 1)]
    allowed = [steps for steps in tries if open_end or steps[-1] == 8]

    found = knots.place(GRAM, LENGTHS, count, cost, open_end)

    assert len(found) == count
    assert found in allowed
    assert total(found) == pytest.approx(min(map(total, allowed)), abs=1e-9)


def test_a_curve_of_straight_pieces_is_found_at_its_corners():
    corners = {0: [0.0, 0.0], 3: [3.0, 1.0], 5: [1.0, 4.0], 8: [0.0, -2.0]}
    rows = [[0.0, 0.0] for _ in range(9)]
    for a, b in pairwise(corners):
        for k in range(a, b + 1):
            share = (k - a) / (b - a)
            rows[k] = [
                (1 - share) * x + share * y for x, y in zip(corners[a], corners[b], strict=True)
            ]

    for cost in ("signed squared", "rms"):
        assert knots.place(gram_of(rows), LENGTHS, 4, cost) == (0, 3, 5, 8)
    # There the line between the anchors is exact, so all trust belongs to the newer anchor.
    assert fitting.fit(gram_of(rows), (0, 3, 5, 8)) == pytest.approx([1.0] * 9)


def test_a_fitted_weight_is_better_than_any_other():
    steps = (0, 2, 6, 8)
    factors = fitting.fit(GRAM, steps)
    base = bases.resolve("taylorseer")

    def error(k, weight):
        terms = dict(zip((0, 2, 6), bases.blend(base, (0, 2, 6), k, 1, weight), strict=True))
        knots.add(terms, {k: -1.0})
        return knots.squared(GRAM, terms)

    for k in (3, 4, 5):
        least = min(error(k, i / 1000) for i in range(1501))
        assert error(k, factors[k]) <= least + 1e-9
        assert 0 <= factors[k] <= fitting.LARGEST
    assert [factors[k] for k in (0, 2, 6, 7, 8)] == [1.0, 1.0, 1.0, factors[7], 1.0]


def test_steps_are_as_long_as_the_times_between_them():
    assert knots.step_lengths([1.0, 0.7, 0.1]) == pytest.approx([0.3, 0.6, 0.1])


@pytest.mark.parametrize("count", [0, 1, 10])
def test_a_number_of_full_steps_that_does_not_fit_is_refused(count):
    with pytest.raises(ConfigError, match=f"{count} full steps of 9; give a number from 2 to 9"):
        knots.place(GRAM, LENGTHS, count)


def test_candidates_hold_every_cost_and_the_untuned_rules_once():
    lists = candidates.placements(GRAM, TIMES, [4])[4]

    assert len(lists) == len(set(lists))
    assert lists[0] == knots.place(GRAM, LENGTHS, 4, "signed")
    for cost, open_end in COSTS:
        assert knots.place(GRAM, LENGTHS, 4, cost, open_end) in lists
    assert {(0, 3, 5, 8), (0, 2, 4, 7)} <= set(lists)
    assert (0, 1, 2, 10, 18, 26, 34, 42, 49) in candidates.untuned(50, 9)
    for setting in candidates.SETTINGS:
        config = candidates.config(GRAM, TIMES, lists[0], setting)
        assert config.plan(9).full_steps == lists[0]


def test_a_diffusion_sampler_is_first_tried_open_ended_and_with_a_second_derivative():
    flow, diffusion = (candidates.placements(GRAM, TIMES, [4], f)[4] for f in (True, False))

    assert (0, 2, 5, 7) in set(diffusion) - set(flow)  # half a window before the end
    assert flow[:2] == [knots.place(GRAM, LENGTHS, 4), (0, 1, 4, 8)]  # windows that grow
    assert (0, 3, 5, 8) in flow
    assert diffusion[:2] == [knots.place(GRAM, LENGTHS, 4, open_end=True), (0, 2, 5, 7)]
    assert candidates.settings() == list(candidates.SETTINGS)
    assert candidates.settings(flow=False)[0]["order"] == 2


def test_a_diffusion_samplers_candidates_forecast_as_its_defaults_do() -> None:
    """But for reuse, which is another strategy, and for fitted weights, which were fitted to counted steps."""
    for own in candidates.settings(flow=False):
        base = candidates.config(GRAM, TIMES, (0, 3, 7), own).base
        assert base == ("taylorseer" if own["weight"] == FITTED else own.get("base", "automatic"))
    bases_of_flows = {
        candidates.config(GRAM, TIMES, (0, 3, 7), own).base for own in candidates.settings()
    }
    assert bases_of_flows == {"taylorseer", "damped", "fora"}


def test_candidates_hold_windows_that_grow_more_and_less_than_the_defaults() -> None:
    """Between the ends of the defaults: by a flow's times, of a diffusion sampler by its steps."""
    times, counts = schedule.shifted(9, 7.0), (4, 5, 6)
    for flow, along in ((True, times), (False, range(9, 0, -1))):
        found = candidates.placements(GRAM, times, counts, flow)
        for count in counts:
            default = candidates.untuned(9, count, times if flow else ())[0]
            for growth in candidates.GROWTHS:
                steps = tuple(windows.spread(default, along, growth))
                assert steps in found[count]
                assert (steps[0], steps[-1]) == (default[0], default[-1])


@pytest.mark.parametrize("flow", [True, False])
@pytest.mark.parametrize("interval", [3, 5, 7, 10])
def test_the_first_untuned_full_steps_are_the_defaults(flow, interval):
    times = schedule.shifted(50, 3.0) if flow else []
    full = ZCacheConfig(interval=interval).plan(50, times, diffusion=not flow).full_steps
    assert candidates.untuned(50, len(full), times)[0] == full
