"""Forecasts fitted to full steps that are moved about. What a fit says of its last latents decides: no picture is
drawn."""

from __future__ import annotations

import math
from collections.abc import Callable

from ...method.config import ZCacheConfig
from ...method.forecasts import Row
from .climb import Steps, climb
from .closed_loop import Fitted
from .race import Race, is_clear

Fit = Callable[[Steps, Fitted | None], Fitted | None]


class MovedFits:
    """Fits of one number of full steps, in a race.

    Args:
        fit: fits forecasts to full steps, for the cost of one run of all prompts, less what these have in common
            with those of another fit; None where it cannot.
        made: the settings of a fit.
        race: whose runs are taken; what is worth it enters.
        prompts: how many calls a run of all is.
    """

    def __init__(
        self,
        fit: Fit,
        made: Callable[[Steps, tuple[Row, ...]], ZCacheConfig],
        race: Race,
        prompts: int,
    ) -> None:
        self._fit, self._made, self._race, self._prompts = fit, made, race, prompts
        self._best: Fitted | None = None  # of those that say how near they come
        self._tried: set[Steps] = set()

    def begin(self, steps: Steps) -> None:
        """Fit to these full steps, if a run stays to try them."""
        found = self._fitted(steps, None, self._prompts)
        if found is not None and found.decibels is None:
            self._enter(found)
        else:
            self._best = found

    def climb(self, num_steps: int, spare: int) -> None:
        """Move the full steps of the best one at a time, as long as it comes clearly nearer and `spare` runs stay
        beside those to try it; then try it."""
        if self._best is None:
            return

        def is_better(steps: Steps, _: Steps) -> bool:
            found = self._fitted(steps, self._best, spare + self._prompts)
            if found is None or not self._is_nearer(found):
                return False
            self._best = found
            return True

        climb(self._best.full_steps, num_steps, is_better)
        self._enter(self._best)

    def _is_nearer(self, found: Fitted) -> bool:
        if found.decibels is None or self._best is None or self._best.decibels is None:
            return False
        return is_clear(found.decibels - self._best.decibels, self._prompts)

    def _fitted(self, steps: Steps, near: Fitted | None, spare: int) -> Fitted | None:
        """A fit, for its runs; None where it was tried, these would not leave `spare`, or nothing can be fitted."""
        new = 1 - near.common(steps) / len(steps) if near else 1
        if steps in self._tried or not self._race.take(math.ceil(self._prompts * new), spare):
            return None
        self._tried.add(steps)
        return self._fit(steps, near)

    def _enter(self, found: Fitted) -> None:
        self._race.enter([self._made(found.full_steps, found.rows)], self._prompts)
