"""Which candidate is best, decided by real accelerated runs, a bounded number of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from ...errors import ConfigError
from ...method import candidates
from ...method.config import AUTOMATIC, ZCacheConfig
from ...method.forecasts import Row
from ...method.knots import Gram
from .climb import Steps, climb
from .moved_fits import Fit, MovedFits
from .race import FEW, Measure, Race

Form = tuple[str, dict[str, Any]]  # granularity and settings
NEAR_ENOUGH = 0.98  # of the speedup that is asked for
ENOUGH = 6  # runs for each candidate of the first round, with which it sees twice as many prompts
LEAST, MOST = 4, 20  # full steps that a floor of quality is looked for in
# Settings that meet all placements, and runs on the other prompts that are kept for the end.
FINALISTS = 3
CLIMBERS = 4  # prompts without which full steps are not moved: fewer say little of others
# Runs of all prompts with which forecasts are fitted to the untuned full steps, and with which these are moved, too.
FIT, MOVED_FIT = 8, 16
# Runs that a race needs for each granularity. Of more it takes a third where no fits are moved, and its winner climbs
# on the rest; fits climb first, on all but one part of so many.
FIELD, KEPT = 75, 3


class Search:
    """The candidates of one recorded model.

    Args:
        grams: (T, T) of the calibration runs, by granularity.
        times: flow times of the steps.
        flow: whether the sampler is a flow's.
        prompts: how many calls there are to calibrate by.
        measure: runs a setting on the first so many of them.
        fit: fits forecasts to full steps (see moved_fits.py).
    """

    def __init__(
        self,
        grams: Mapping[str, Gram],
        times: Sequence[float],
        flow: bool,
        prompts: int,
        measure: Measure,
        fit: Fit | None = None,
    ) -> None:
        self._fit, self._climbs = fit, prompts >= CLIMBERS
        self._grams, self._times, self._flow = dict(grams), times, flow
        self._prompts, self._measure = prompts, measure
        self._made: dict[ZCacheConfig, Form] = {}
        usual = AUTOMATIC if len(self._grams) > 1 else next(iter(self._grams))
        self._forms: list[Form] = [(usual, candidates.DEFAULTS)]
        for own in candidates.settings(flow):
            self._forms += [(granularity, own) for granularity in self._grams]

    @property
    def num_steps(self) -> int:
        return len(self._times)

    def first(self, count: int) -> ZCacheConfig:
        """The most promising settings, by the Gram matrix alone."""
        return self._config(self._placed([count])[count][0], self._forms[0])

    def untuned(self, count: int) -> ZCacheConfig:
        """What a pipeline of this kind runs at so many full steps without a profile."""
        steps = candidates.untuned(self.num_steps, count, self._times if self._flow else ())[0]
        return ZCacheConfig(full_steps=steps, times=tuple(self._times))

    def quality(self, config: ZCacheConfig) -> float:
        """Mean PSNR in dB over the calibration prompts."""
        return float(np.mean(self._measure(config, self._prompts)["psnr"]))

    def best(self, counts: Sequence[int], limit: int) -> dict[int, ZCacheConfig]:
        """The best settings of every number of full steps, by at most `limit` accelerated runs each.

        A race: settings and granularities on the first two placements, then those that gain most over all
        numbers of full steps on the other placements, on a few prompts; then fewer and fewer on more and more. With
        runs enough forecasts are fitted to the untuned full steps and these moved; where that cannot be paid, what
        won at one number is tried at all others. Then the best one's full steps are moved about. Full steps other
        than the defaults' have to be clearly better than the best settings with these.
        """
        placed = self._placed(counts)
        fits = 0 if self._fit is None else limit // self._prompts
        shared = 2 * (len(counts) - 1) * self._prompts
        shared = shared if fits < MOVED_FIT and limit >= ENOUGH * shared else 0
        # A fit, and to try it.
        raced = limit - shared - (2 * self._prompts if fits >= FIT else 0)
        if self._climbs:
            field = min(raced, FIELD * len(self._grams))
            raced = field if fits >= MOVED_FIT else max(limit // 3, field)
        races = {count: Race(self._measure, self._prompts, raced) for count in counts}
        few = self._few(raced)
        begun = {
            count: self._begin(race, placed[count], self.untuned(count), few, raced // 3)
            for count, race in races.items()
        }
        forms = self._promising(races, begun)
        known = {count: self._in_place(race, count, forms) for count, race in races.items()}
        for count, race in races.items():
            finalists = (self._config(steps, form) for steps in placed[count] for form in forms)
            race.enter(finalists, few, self._spare(few))
        won = {count: race.won(known[count]) for count, race in races.items()}
        for count, race in races.items():
            if shared:
                race.allow(shared)
                race.enter(self._elsewhere(won, placed, placed[count]), self._prompts)
            race.allow(limit - raced - shared)
            self._climb(race, known[count], fits >= FIT)
        return {count: race.best(known[count]) for count, race in races.items()}

    def _in_place(self, race: Race, count: int, forms: Sequence[Form]) -> ZCacheConfig:
        """The best of the untuned settings and of `forms`, with the untuned full steps."""
        untuned = self.untuned(count)
        made = [self._config(untuned.full_steps or (), form) for form in forms]
        race.enter([untuned, *made], self._prompts, self._spare(0))
        return race.best(untuned, made)

    def _elsewhere(
        self,
        won: Mapping[int, ZCacheConfig],
        placed: Mapping[int, list[Steps]],
        lists: Sequence[Steps],
    ) -> list[ZCacheConfig]:
        """What won at any number of full steps, at the first and its own placement of `lists`."""
        forms = [
            (placed[n].index(c.full_steps or ()), self._made[c])
            for n, c in won.items()
            if c in self._made
        ]
        return [
            self._config(lists[place], form)
            for index, form in forms
            for place in {0, min(index, len(lists) - 1)}
        ]

    def _climb(self, race: Race, known: ZCacheConfig, fitted: bool) -> None:
        """Fit forecasts to the untuned full steps, `known`'s, and move these for most of the runs left; then those
        of whatever is the best, as long as there are runs."""
        fits = None
        if fitted and self._fit is not None:
            fits = MovedFits(self._fit, self._of_fit, race, self._prompts)
            fits.begin(known.full_steps or ())
            fits.climb(self.num_steps, spare=race.left // KEPT if self._climbs else race.left)
        if not self._climbs:
            return
        best = race.best(known)
        if fits is not None and best.forecasts is not None:
            fits.climb(self.num_steps, spare=0)
        else:
            self._move(race, best)

    def _of_fit(self, steps: Steps, rows: tuple[Row, ...]) -> ZCacheConfig:
        return self._config(steps, ("output", candidates.IN_CLOSED_LOOP), rows)

    def _move(self, race: Race, start: ZCacheConfig) -> None:
        """Move the full steps of `start` about, as long as the race has runs."""
        form = self._made.get(start)

        @cache
        def moved(steps: Steps) -> ZCacheConfig:
            return self._config(steps, form) if form else start.replace(full_steps=steps)

        climb(
            start.full_steps or (),
            self.num_steps,
            lambda new, old: race.is_better(moved(new), moved(old)),
        )

    def _few(self, limit: int) -> int:
        """How many prompts settings meet first."""
        return min(FEW if limit < ENOUGH * 2 * len(self._forms) else 2 * FEW, self._prompts)

    def _spare(self, few: int) -> int:
        """Runs that are kept for the finalists on the other prompts."""
        return FINALISTS * (self._prompts - few)

    def _begin(
        self, race: Race, lists: list[Steps], untuned: ZCacheConfig, few: int, later: int
    ) -> dict[ZCacheConfig, int]:
        """Run every form on the first two placements, as far as runs stay for later; return their indices.

        The untuned settings run to the end and give way only to what is better by more than its
        standard error over the prompts.
        """
        made = {
            self._config(steps, form): index
            for index, form in enumerate(self._forms)
            for steps in lists[:2]
        }
        race.enter([untuned], few)
        race.enter(made, few, self._spare(few) + later)
        return made

    def _promising(
        self, races: Mapping[int, Race], begun: Mapping[int, Mapping[ZCacheConfig, int]]
    ) -> list[Form]:
        """The forms that gain most over the untuned settings, over all numbers of full steps: of each there are few
        runs, and what is good at one number is good at the next."""
        gains: dict[int, list[float]] = {}
        for count, made in begun.items():
            race, untuned = races[count], self.untuned(count)
            for config, index in made.items():
                gains.setdefault(index, []).extend(race.gains(config, untuned))
        ranked = sorted((i for i in gains if gains[i]), key=lambda i: -float(np.mean(gains[i])))
        return [self._forms[index] for index in ranked[:FINALISTS]]

    def _placed(self, counts: Sequence[int]) -> dict[int, list[Steps]]:
        found: dict[int, list[Steps]] = {count: [] for count in counts}
        for gram in self._grams.values():
            for count, lists in candidates.placements(
                gram, self._times, counts, self._flow
            ).items():
                found[count] += lists
        return {count: list(dict.fromkeys(lists)) for count, lists in found.items()}

    def count_for_speedup(self, speedup: float) -> int:
        """The most full steps with so many times fewer FLOPs, or at most 2 % less: one full step fewer may go far
        beyond. One measurement tells what a cached step costs.

        Raises:
            ConfigError: not even two full steps are that fast.
        """
        total = self.num_steps
        if total <= 2:
            return total
        count = min(max(2, int(total / speedup)), total - 1)
        reached = self._measure(self.first(count), 1)["flops_speedup"]
        cached = max(0.0, (total / reached - count) / (total - count))
        least = speedup * NEAR_ENOUGH
        most = int((total / least - cached * total) / (1 - cached) + 1e-9) if cached < 1 else 0
        if most < 2:
            raise ConfigError(
                f"speedup is {speedup:g}, and two full steps of {total} give {total / (2 + cached * total):.1f}; "
                "ask for less"
            )
        return min(most, total)

    def count_for_quality(self, psnr: float) -> int:
        """The fewest full steps, 4 to 20 if the run has as many, with so many dB on the calibration prompts, by
        bisection.

        Raises:
            ConfigError: twenty are not enough.
        """
        low, high = min(LEAST, self.num_steps), min(MOST, self.num_steps)
        if (reached := self.quality(self.first(high))) < psnr:
            raise ConfigError(
                f"psnr is {psnr:g} dB, and {high} full steps give {reached:.1f}; ask for less, or name `full`"
            )
        while low < high:
            middle = (low + high) // 2
            if self.quality(self.first(middle)) >= psnr:
                high = middle
            else:
                low = middle + 1
        return low

    def _config(
        self, steps: Steps, form: Form, forecasts: tuple[Row, ...] | None = None
    ) -> ZCacheConfig:
        granularity, own = form
        gram = self._grams.get(granularity)
        made = candidates.config(gram, self._times, steps, own, granularity, forecasts)
        self._made[made] = form
        return made
