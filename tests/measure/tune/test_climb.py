"""Moving full steps one at a time: on made-up figures, where the best ones are known."""

from __future__ import annotations

from typing import Any

import pytest

from zcache import ZCacheConfig
from zcache.measure.tune.climb import climb
from zcache.measure.tune.race import Race
from zcache.measure.tune.search import FIELD, Search

SECRET = (0, 3, 4, 13, 15)
STEPS = 20


def distance(steps: tuple[int, ...]) -> int:
    return sum(abs(a - b) for a, b in zip(steps, SECRET, strict=True))


def better(new: tuple[int, ...], old: tuple[int, ...]) -> bool:
    return distance(new) < distance(old)


@pytest.mark.parametrize("start", [(0, 1, 2, 3, 4), (0, 16, 17, 18, 19), (0, 5, 10, 15, 19)])
def test_it_ends_on_the_best_full_steps(start):
    assert climb(start, STEPS, better) == SECRET


def test_what_is_asked_is_a_valid_list_and_new():
    asked = []

    def spy(new, old):
        asked.append(new)
        return better(new, old)

    climb((0, 1, 2, 3, 4), STEPS, spy)

    assert len(set(asked)) == len(asked) > 20
    for steps in asked:
        assert steps[0] == 0
        assert list(steps) == sorted(set(steps))
        assert steps[-1] < STEPS


def test_where_nothing_is_better_all_stays():
    assert climb((0, 5, 10), STEPS, lambda *_: False) == (0, 5, 10)


@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        ((1, 1, 1, 1), True),
        ((-1, -1, 9, 9), False),
        ((3, 3, -4, -4), False),
        ((1, 1, 1, -0.5), True),  # 0.63 with an error of 0.38
        ((1, 1, -0.5, -0.5), False),  # 0.25 with 0.43
        ((9, 9, -1, -1), False),  # 4 with 2.9, but each counts for 2: 0.5 with 0.87
    ],
)
def test_better_is_better_on_the_first_half_and_clearly_on_all(gains, expected):
    base, other = ZCacheConfig(), ZCacheConfig(interval=2)
    ran = {}

    def figures(config, count):
        ran[config] = count
        return {"psnr": [30 + (gains[i] if config == other else 0) for i in range(count)]}

    race = Race(figures, 4, 20)
    race.enter([base], 4)

    assert race.is_better(other, base) == expected
    assert ran[other] == (2 if gains == (-1, -1, 9, 9) else 4)


def test_with_no_runs_left_nothing_is_better():
    base, other = ZCacheConfig(), ZCacheConfig(interval=2)
    race = Race(lambda config, count: {"psnr": [float(config == other)] * count}, 4, 6)
    race.enter([base], 4)
    assert not race.is_better(other, base)


@pytest.mark.parametrize(
    ("prompts", "limit", "reached"),
    [(4, FIELD, False), (4, 6 * FIELD, True), (3, 6 * FIELD, False)],
)
def test_with_runs_and_prompts_enough_a_search_finds_what_no_rule_places(prompts, limit, reached):
    """Only the distance to the secret counts; all settings are alike, and the rules miss it."""
    ran: dict[ZCacheConfig, int] = {}

    def figures(config: ZCacheConfig, count: int) -> dict[str, Any]:
        ran[config] = max(count, ran.get(config, 0))
        return {"psnr": [50.0 - distance(config.full_steps)] * count, "flops_speedup": 5.0}

    gram = [[float(i == j) + 1 for j in range(STEPS)] for i in range(STEPS)]
    times = [1 - k / STEPS for k in range(STEPS)]

    found = Search({"stack": gram}, times, True, prompts, figures).best([5], limit)

    assert (found[5].full_steps == SECRET) == reached
    assert sum(ran.values()) <= limit
