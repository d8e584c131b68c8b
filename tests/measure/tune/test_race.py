"""The race, on made-up figures: what runs on what, and who wins."""

from __future__ import annotations

from typing import Any

import pytest

from zcache import ZCacheConfig
from zcache.measure.tune.race import Race
from zcache.measure.tune.search import Search
from zcache.method import candidates

REFERENCE = ZCacheConfig()
OTHERS = [ZCacheConfig(interval=n) for n in range(2, 5)]
NOISE = (0.0, 3.0, -3.0, 1.0)  # of the prompts, alike for all settings


class Figures:
    """Says what was measured on the first so many prompts, and counts the runs."""

    def __init__(self, gains: dict[ZCacheConfig, tuple[float, ...]]) -> None:
        self.gains, self.ran = gains, {}

    def __call__(self, config: ZCacheConfig, count: int) -> dict[str, Any]:
        self.ran[config] = max(count, self.ran.get(config, 0))
        gains = self.gains.get(config, (0.0,) * len(NOISE))
        psnr = [30 + a + b for a, b in zip(NOISE, gains, strict=True)][:count]
        return {"psnr": psnr, "flops_speedup": 5.0}

    @property
    def runs(self) -> int:
        return sum(self.ran.values())


def raced(figures: Figures, limit: int = 100) -> ZCacheConfig:
    race = Race(figures, len(NOISE), limit)
    race.enter([REFERENCE, *OTHERS], 2)
    return race.won(REFERENCE)


def test_the_best_over_all_prompts_wins() -> None:
    figures = Figures({OTHERS[0]: (2, 2, 0, 0), OTHERS[1]: (1, 1, 2, 2.5)})
    assert raced(figures) == OTHERS[1]
    assert figures.ran[REFERENCE] == figures.ran[OTHERS[1]] == len(NOISE)


def test_a_gain_within_its_standard_error_is_none() -> None:
    """Gains 4, 4, -3, -3: mean 0.5, deviation 4.04, standard error 2.02."""
    assert raced(Figures({OTHERS[0]: (4, 4, -3, -3)})) == REFERENCE
    assert raced(Figures({OTHERS[0]: (1.3, 1.3, 1.3, 1.3)})) == OTHERS[0]


@pytest.mark.parametrize(
    ("prompts", "least"), [(1, 4.0), (2, (32 / 3 / 2) ** 0.5), (4, (32 / 5 / 4) ** 0.5)]
)
def test_few_prompts_that_agree_are_believed_only_where_the_gain_is_large(
    prompts: int, least: float
) -> None:
    """A spread of 4 dB is believed beforehand, as if of two prompts: squares of 2 x 16 and none of their own, over
    n - 1 + 2 and over n."""
    for gain, wins in ((0.99 * least, False), (1.01 * least, True)):

        def measure(config: ZCacheConfig, count: int, gain: float = gain) -> dict[str, Any]:
            return {"psnr": [30 + gain * (config == OTHERS[0])] * min(count, prompts)}

        race = Race(measure, prompts, 100)
        race.enter([REFERENCE, OTHERS[0]], prompts)
        assert (race.best(REFERENCE) == OTHERS[0]) == wins


@pytest.mark.parametrize("limit", range(8, 20))
def test_no_more_runs_than_are_allowed(limit: int) -> None:
    figures = Figures({config: (1.0,) * 4 for config in OTHERS})
    assert raced(figures, limit) in (REFERENCE, *OTHERS)
    assert figures.runs <= limit


@pytest.mark.parametrize(("limit", "wins"), [(32, True), (31, False)])
def test_a_prompt_that_a_setting_ran_on_costs_nothing_again(limit: int, wins: bool) -> None:
    """Five settings on two prompts are 10 runs; 6 are left for the reference, 4 x 2 for the field on four prompts
    and 2 x 4 for half of it on eight: 32. With one less the last of the field, the winner, stays behind."""
    fields = [*OTHERS, ZCacheConfig(interval=6)]
    gains = {config: (float(5 - at), float(5 - at), *6 * [0.0]) for at, config in enumerate(fields)}
    gains[fields[-1]] = (1.0, 1.0, *6 * [9.0])

    def measure(config: ZCacheConfig, count: int) -> dict[str, Any]:
        return {"psnr": list(gains.get(config, 8 * (0.0,))[:count])}

    race = Race(measure, 8, limit)
    race.enter([REFERENCE, *fields], 2)

    assert (race.won(REFERENCE) == fields[-1]) == wins


class Batches(Figures):
    """Draws two prompts at once."""

    def __call__(self, config: ZCacheConfig, count: int) -> dict[str, Any]:
        return super().__call__(config, count + count % 2)


@pytest.mark.parametrize("limit", range(8, 20))
def test_a_batch_counts_as_many_runs_as_it_has_prompts(limit: int) -> None:
    """Of one prompt each, two run: eight for four settings, two more for each that goes to all prompts."""
    figures = Batches({config: (1.0,) * 4 for config in OTHERS})
    race = Race(figures, len(NOISE), limit)
    race.enter([REFERENCE, *OTHERS], 1)
    race.won(REFERENCE)
    assert limit - 4 <= figures.runs <= limit or figures.runs == 16


@pytest.mark.parametrize("prompts", [1, 2])
def test_with_few_prompts_every_run_is_spent_on_candidates(prompts: int) -> None:
    figures = Figures({})
    gram = [[float(i == j) + 1 for j in range(12)] for i in range(12)]
    times = [1 - k / 12 for k in range(12)]
    search = Search({"stack": gram}, times, True, prompts, figures)

    search.best([4], limit=14)

    assert 14 - prompts < figures.runs <= 14


@pytest.mark.parametrize(("granularities", "raced"), [(["stack"], 75), (["stack", "output"], 150)])
def test_every_granularity_is_given_a_race(
    granularities: list[str], raced: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 200 runs; the winner climbs on what is left."""
    limits = []

    class Seen(Race):
        def __init__(self, measure: Any, prompts: int, limit: int) -> None:
            limits.append(limit)
            super().__init__(measure, prompts, limit)

    monkeypatch.setattr("zcache.measure.tune.search.Race", Seen)
    gram = [[float(i == j) + 1 for j in range(12)] for i in range(12)]
    times = [1 - k / 12 for k in range(12)]
    Search(dict.fromkeys(granularities, gram), times, True, 4, Figures({})).best([4], limit=200)

    assert limits == [raced]


class Deceiving(Figures):
    """The paper's weight gains everywhere with four full steps; with five the first two prompts hide it."""

    def __call__(self, config: ZCacheConfig, count: int) -> dict[str, Any]:
        if (config.weight, config.relax, config.order) == ("logarithmic", None, 1):
            self.gains[config] = (5,) * 4 if len(config.full_steps or ()) == 4 else (-1, -1, 8, 8)
        return super().__call__(config, count)


@pytest.mark.parametrize(("limit", "weight"), [(150, "logarithmic"), (47, "automatic")])
def test_what_wins_at_one_number_is_tried_at_the_others(limit: int, weight: str) -> None:
    """47 runs are too few for that: 6 x 2 x 1 x 4 prompts."""
    gram = [[float(i == j) + 1 for j in range(12)] for i in range(12)]
    times = [1 - k / 12 for k in range(12)]
    figures = Deceiving({})

    found = Search({"stack": gram}, times, True, 4, figures).best([4, 5], limit)

    assert found[5].weight == weight
    assert figures.runs <= 2 * limit


@pytest.mark.parametrize(
    ("granularities", "granularity"), [(["stack", "output"], "automatic"), (["output"], "output")]
)
def test_the_defaults_are_tried_at_other_full_steps(
    granularities: list[str], granularity: str
) -> None:
    """They stand for other settings on every kind of model, and only their own full steps run untuned."""
    gram = [[float(i == j) + 1 for j in range(12)] for i in range(12)]
    times = [1 - k / 12 for k in range(12)]
    elsewhere: list[ZCacheConfig] = []

    class FromTheDefaults(Figures):
        def __call__(self, config: ZCacheConfig, count: int) -> dict[str, Any]:
            default = ZCacheConfig(
                granularity=granularity, full_steps=config.full_steps, times=config.times
            )
            if config == default and config.full_steps != untuned:
                elsewhere.append(config)
                self.gains[config] = (5,) * 4
            return super().__call__(config, count)

    figures = FromTheDefaults({})
    search = Search(dict.fromkeys(granularities, gram), times, True, 4, figures)
    untuned = search.untuned(4).full_steps

    found = search.best([4], limit=100)

    assert found[4] in elsewhere


def test_what_gains_at_most_numbers_of_full_steps_meets_more_placements_at_each() -> None:
    """Two prompts at four full steps hide the paper's weight behind all others, at five and six they show it."""
    gram = [[float(i == j) + 1 for j in range(12)] for i in range(12)]
    times = [1 - k / 12 for k in range(12)]
    seen: set[tuple[int, ...]] = set()

    class Hidden(Figures):
        def __call__(self, config: ZCacheConfig, count: int) -> dict[str, Any]:
            if (config.weight, config.relax, config.order) == ("logarithmic", None, 1):
                few = len(config.full_steps or ()) == 4
                self.gains[config] = (-1,) * 4 if few else (3,) * 4
                seen.add(config.full_steps or ())
            return super().__call__(config, count)

    search = Search({"stack": gram}, times, True, 4, Hidden({}))
    placed = candidates.placements(gram, times, [4], True)[4]

    search.best([4, 5, 6], limit=75)

    assert set(placed[:3]) <= seen


def test_one_prompt_says_four_decibels_of_a_setting_at_most() -> None:
    race = Race(Figures({OTHERS[0]: (1, -1, 30, -30), OTHERS[1]: (0.5,) * 4}), len(NOISE), 20)
    race.enter([REFERENCE, *OTHERS[:2]], 4)
    assert race.gains(OTHERS[0], REFERENCE) == pytest.approx([1, -1, 4, -4])
    assert race.gains(OTHERS[2], REFERENCE) == []


@pytest.mark.parametrize(("elsewhere", "moves"), [((9, 9, 2, 2), False), ((7, 7, 7, 7), True)])
def test_other_full_steps_have_to_be_clearly_better_than_the_best_settings_with_the_untuned(
    elsewhere: tuple[float, ...], moves: bool
) -> None:
    """The paper's weight gains 5 dB with the untuned full steps; 4, 4, -3 and -3 more elsewhere are within their
    standard error of 2.02."""
    gram = [[float(i == j) + 1 for j in range(12)] for i in range(12)]
    times = [1 - k / 12 for k in range(12)]

    class Luck(Figures):
        def __call__(self, config: ZCacheConfig, count: int) -> dict[str, Any]:
            if (config.weight, config.relax, config.order) == ("logarithmic", None, 1):
                own = config.full_steps == untuned
                self.gains[config] = (5,) * 4 if own else elsewhere
            return super().__call__(config, count)

    search = Search({"stack": gram}, times, True, 4, Luck({}))
    untuned = search.untuned(4).full_steps

    found = search.best([4], limit=100)[4]

    assert found.weight == "logarithmic"
    assert (found.full_steps != untuned) == moves
