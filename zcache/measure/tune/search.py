"""Which candidate is best, decided by real accelerated runs, a bounded number of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...errors import ConfigError
from ...method import candidates
from ...method.config import ZCacheConfig
from ...method.knots import Gram

Measure = Callable[[ZCacheConfig], dict[str, Any]]
LEAST, MOST = 4, 20  # full steps that a floor of quality is looked for in


class Search:
    """The candidates of one recorded model.

    Args:
        gram: (T, T) of the calibration runs.
        times: flow times of the steps.
        flow: whether the sampler is a flow's.
        granularity: what is cached.
        measure: runs a setting on the calibration prompts.
    """

    def __init__(
        self, gram: Gram, times: Sequence[float], flow: bool, granularity: str, measure: Measure
    ) -> None:
        self._gram, self._times, self._flow = gram, times, flow
        self._granularity, self._measure = granularity, measure
        self._settings = candidates.settings(flow)
        self.measured = 0

    @property
    def num_steps(self) -> int:
        return len(self._times)

    def first(self, count: int) -> ZCacheConfig:
        """The most promising settings, by the Gram matrix alone."""
        placed = candidates.placements(self._gram, self._times, [count], self._flow)
        return self._config(placed[count][0], self._settings[0])

    def quality(self, config: ZCacheConfig) -> float:
        """Mean PSNR in dB over the calibration prompts."""
        self.measured += 1
        return float(np.mean(self._measure(config)["psnr"]))

    def best(self, counts: Sequence[int], limit: int) -> dict[int, ZCacheConfig]:
        """The best settings of every number of full steps, by at most `limit` measurements each.

        First the placements with the most promising setting, with half of the measurements; then the
        settings on the best placement; what is left goes to the other placements with the best setting.
        """
        placed = candidates.placements(self._gram, self._times, counts, self._flow)
        return {count: self._best(placed[count], limit) for count in counts}

    def _best(self, lists: list[tuple[int, ...]], limit: int) -> ZCacheConfig:
        tried: dict[tuple[tuple[int, ...], int], float] = {}

        def attempt(steps: tuple[int, ...], setting: int) -> None:
            if (steps, setting) not in tried and len(tried) < limit:
                config = self._config(steps, self._settings[setting])
                tried[steps, setting] = self.quality(config)

        def leader() -> tuple[tuple[int, ...], int]:
            return max(tried, key=lambda key: tried[key])

        for steps in lists[: max(1, (limit + 1) // 2)]:
            attempt(steps, 0)
        for setting in range(len(self._settings)):
            attempt(leader()[0], setting)
        ranked = sorted(lists, key=lambda steps: -tried.get((steps, 0), -1.0))
        for steps in ranked:
            attempt(steps, leader()[1])
        steps, setting = leader()
        return self._config(steps, self._settings[setting])

    def count_for_speedup(self, speedup: float) -> int:
        """The most full steps with so many times fewer FLOPs; one measurement tells what a cached step costs.

        Raises:
            ConfigError: not even two full steps are that fast.
        """
        total = self.num_steps
        count = min(max(2, int(total / speedup)), total - 1)
        reached = self._measure(self.first(count))["flops_speedup"]
        cached = max(0.0, (total / reached - count) / (total - count))
        most = int((total / speedup - cached * total) / (1 - cached) + 1e-9) if cached < 1 else 0
        if most < 2:
            raise ConfigError(
                f"speedup is {speedup:g}, and two full steps of {total} give {total / (2 + cached * total):.1f}; "
                "ask for less"
            )
        return min(most, total)

    def count_for_quality(self, psnr: float) -> int:
        """The fewest full steps, 4 to 20, with so many dB on the calibration prompts, by bisection.

        Raises:
            ConfigError: twenty are not enough.
        """
        low, high = LEAST, min(MOST, self.num_steps)
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

    def _config(self, steps: tuple[int, ...], setting: dict[str, Any]) -> ZCacheConfig:
        return candidates.config(self._gram, self._times, steps, setting, self._granularity)
