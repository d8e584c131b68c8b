"""Forecasts fitted to full steps that are moved, in a search and alone."""

import numpy as np
import pytest

from zcache import ZCacheConfig
from zcache.measure.tune.closed_loop import Fitted
from zcache.measure.tune.moved_fits import MovedFits
from zcache.measure.tune.race import Race, is_clear
from zcache.measure.tune.search import Search
from zcache.method import candidates
from zcache.method.forecasts import lengths

TIMES = [1 - k / 20 for k in range(20)]
PROMPTS = 4


def rows(steps):
    return tuple(
        ((0.5,) * first, (0.5,) * second)
        for first, second in (lengths(steps, k) for k in range(20))
    )


def made(steps, found):
    own = candidates.IN_CLOSED_LOOP
    return ZCacheConfig(
        full_steps=steps, times=tuple(TIMES), granularity="output", forecasts=found, **own
    )


class World:
    """The nearer the second full step is to the eighth, the better; every run is counted."""

    def __init__(self, told=True):
        self.told, self.fits, self.drawn = told, [], []

    def worth(self, steps):
        return 40.0 - abs(steps[1] - 8)

    def fit(self, steps, near=None):
        self.fits.append(steps)
        nearness = np.full(2 * PROMPTS, self.worth(steps))  # two rows of every prompt
        return Fitted(steps, rows(steps), nearness if self.told else None)

    def measure(self, config, count):
        self.drawn.append(config)
        return {"psnr": [self.worth(config.full_steps)] * count}

    def moved(self, limit):
        race = Race(self.measure, PROMPTS, limit)
        return race, MovedFits(self.fit, made, race, PROMPTS)


@pytest.mark.parametrize("second", [4, 6, 12])
def test_a_fit_is_moved_to_where_it_is_best_and_only_that_is_drawn(second):
    world = World()
    race, moved = world.moved(1000)
    moved.begin((0, second, 15))
    moved.climb(20, spare=0)

    assert world.fits[0] == (0, second, 15)
    assert [config.full_steps[1] for config in race.leaders()] == [8]
    assert len(world.drawn) == 1


def test_full_steps_are_fitted_to_once_also_by_a_later_climb():
    world = World()
    race, moved = world.moved(1000)
    moved.begin((0, 6, 15))
    moved.climb(20, spare=0)
    left = race.left
    moved.climb(20, spare=0)

    assert len(world.fits) == len(set(world.fits))
    assert race.left == left


@pytest.mark.parametrize(("steps", "runs"), [((0, 6, 15), 4), ((0, 6, 14), 2), ((0, 7, 15), 3)])
def test_a_fit_costs_the_full_steps_that_it_has_not_in_common(steps, runs):
    world = World()
    race, moved = world.moved(100)
    near = world.fit((0, 6, 15)) if runs < PROMPTS else None
    moved._fitted(steps, near, 0)
    assert race.left == 100 - runs


def test_runs_are_left_to_try_the_best_and_for_what_else_they_are_spared():
    world = World()
    race, moved = world.moved(20)
    moved.begin((0, 2, 15))
    moved.climb(20, spare=5)

    assert len(world.fits) > 1
    assert race.left >= 5
    assert race.leaders()[0].full_steps[1] > 2


def test_fits_that_do_not_say_how_near_they_come_are_drawn_and_not_moved():
    world = World(told=False)
    race, moved = world.moved(1000)
    moved.begin((0, 12, 15))
    moved.climb(20, spare=0)

    assert [config.full_steps[1] for config in race.leaders()] == [12]
    assert len(world.fits) == 1


def test_where_nothing_can_be_fitted_nothing_is_moved():
    race = Race(World().measure, PROMPTS, 100)
    moved = MovedFits(lambda *_: None, made, race, PROMPTS)
    moved.begin((0, 6, 15))
    moved.climb(20, spare=0)
    assert not race.leaders()


def test_several_rows_of_a_prompt_tell_no_more_than_one():
    """Two prompts, gains of 1.5 and 0.1 dB: 0.8 in the mean, standard error 0.7; of two further rows that say the
    same it stays."""
    gains = np.array([1.5, 0.1])
    assert is_clear(gains, 2)
    assert not is_clear(np.array([1.9, 0.0]) - 0.2, 2)
    assert not is_clear(np.repeat(np.array([1.9, 0.0]) - 0.2, 8), 2)
    assert not is_clear(np.array([9.0, -1.0, -1.0, -1.0]), 4)


def test_a_search_takes_fitted_forecasts_that_win_and_counts_what_they_cost():
    rows = {}
    runs = []

    def fit(steps, _):
        runs.append(4)
        rows[steps] = tuple(
            ((0.5,) * first, (0.5,) * second)
            for first, second in (lengths(steps, k) for k in range(20))
        )
        return Fitted(steps, rows[steps], None)

    def measure(config, count):
        runs.append(count)
        return {"psnr": [40.0 + 5 * (config.base == "fitted")] * count}

    times = [1 - k / 20 for k in range(20)]
    search = Search({"output": np.eye(20).tolist()}, times, True, 4, measure, fit)
    best = search.best([5], 100)[5]

    assert best.base == "fitted"
    assert best.forecasts == rows[best.full_steps]
    assert best.granularity == "output"
    assert best.relax is None
    unfitted = Search({"output": np.eye(20).tolist()}, times, True, 4, measure)
    assert unfitted.best([5], 100)[5].base != "fitted"


def test_fits_that_come_ever_nearer_and_lose_leave_runs_to_move_the_winners_full_steps():
    fits, moved = [], set()

    def fit(steps, _):
        fits.append(steps)
        return Fitted(steps, rows(steps), np.full(PROMPTS, float(len(fits))))

    def measure(config, count):
        if config.base == "fitted":
            return {"psnr": [20.0] * count}
        if fits:
            moved.add(config.full_steps)
        return {"psnr": [40.0] * count}

    search = Search({"output": np.eye(20).tolist()}, TIMES, True, PROMPTS, measure, fit)
    best = search.best([5], 400)[5]
    assert best.base != "fitted"
    assert len(fits) > 20
    assert len(moved) > 10


@pytest.mark.parametrize(("limit", "fits"), [(31, 0), (32, 1)])
def test_forecasts_are_fitted_where_runs_enough_are_left_for_the_race(limit, fits):
    """Of four prompts a fit costs four runs, and as many to try it: from four times that on. Its start is the
    untuned full steps."""
    made = []

    def measure(config, count):
        return {"psnr": [40.0] * count}

    def fit(steps, _):
        made.append(steps)

    search = Search({"output": np.eye(20).tolist()}, TIMES, True, 4, measure, fit)
    search.best([5], limit)
    assert made == [search.untuned(5).full_steps][:fits]


@pytest.mark.parametrize("fitted", [False, True])
def test_where_fits_are_moved_no_runs_go_to_what_won_at_other_numbers(monkeypatch, fitted):
    shared = []
    monkeypatch.setattr(Search, "_elsewhere", lambda *_: shared.append(1) or [])
    world = World()
    fit = world.fit if fitted else None
    search = Search({"output": np.eye(20).tolist()}, TIMES, True, PROMPTS, world.measure, fit)
    search.best([4, 5, 6], 100)
    assert bool(shared) != fitted
