"""A race of settings: many on a few prompts, few on all, within a number of accelerated runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ...method.config import ZCacheConfig

# Settings on the first so many prompts; on more where several are drawn at once.
Measure = Callable[[ZCacheConfig, int], dict[str, Any]]
FEW = 2  # prompts that a race begins with
SWING = 2.0  # dB
LUCK = 4.0  # dB that one prompt may say of settings that have run on few
# Believed of gains before any was seen: their spread in dB over prompts, and how many prompts that counts for.
SPREAD, BELIEVED = 4.0, 2


class Race:
    """Settings with the PSNR of each prompt they ran on.

    Args:
        measure: runs settings on the first so many prompts, or more; `psnr` holds one number for each.
        prompts: how many there are.
        limit: the most accelerated runs, but for a batch that was begun.
    """

    def __init__(self, measure: Measure, prompts: int, limit: int) -> None:
        self._measure, self._prompts, self._left = measure, prompts, limit
        self._scores: dict[ZCacheConfig, list[float]] = {}

    @property
    def left(self) -> int:
        """Runs that it still has."""
        return self._left

    def enter(self, configs: Iterable[ZCacheConfig], count: int, spare: int = 0) -> None:
        """Run settings on the first `count` prompts, as long as `spare` runs stay for later."""
        for config in configs:
            known = len(self._scores.get(config, ()))
            needed = count - known
            if needed > 0 and (self._left - needed >= spare or not self._scores):
                self._scores[config] = list(self._measure(config, count)["psnr"])
                self._left -= len(self._scores[config]) - known

    def allow(self, more: int) -> None:
        """Allow so many runs more."""
        self._left += more

    def take(self, runs: int, spare: int = 0) -> bool:
        """Count so many runs that are made elsewhere, if that leaves `spare`; whether it did."""
        affordable = self._left - runs >= spare
        self._left -= runs if affordable else 0
        return affordable

    def is_better(self, config: ZCacheConfig, than: ZCacheConfig) -> bool:
        """Whether settings that have not run are better on the first half of the prompts, and on all by more than
        the standard error: what is tried is many, and chance makes the best of many look better than it is.

        A prompt counts for `SWING` dB at most: where another thing comes out, that is luck. `than` has run on
        all. With no runs left nothing is better.
        """
        half = (self._prompts + 1) // 2
        for count in sorted({half, self._prompts}):
            self.enter([config], count)
            own = self._scores.get(config, [])[:count]
            gains = np.subtract(own, self._scores[than][: len(own)])
            if len(own) < count or gains.clip(-SWING, SWING).mean() <= 0:
                return False
        return is_clear(gains, self._prompts)

    def gains(self, config: ZCacheConfig, than: ZCacheConfig) -> list[float]:
        """What settings gain over others, prompt by prompt, as far as both have run; at most `LUCK` dB each."""
        pairs = zip(self._scores.get(config, ()), self._scores.get(than, ()), strict=False)
        return [min(max(own - other, -LUCK), LUCK) for own, other in pairs]

    def leaders(self) -> list[ZCacheConfig]:
        """All that ran, the best first."""
        return self._ranked(self._scores)

    def _ranked(self, field: Iterable[ZCacheConfig]) -> list[ZCacheConfig]:
        """The best first, by the mean over the prompts that all of them ran on."""
        scores = {config: self._scores[config] for config in field}
        least = min(map(len, scores.values()), default=0)
        return sorted(scores, key=lambda config: -float(np.mean(scores[config][:least])))

    def won(self, reference: ZCacheConfig) -> ZCacheConfig:
        """The winner over all prompts; the reference, unless another's gain is clear.

        Ever fewer settings run on ever more prompts: half of them on twice as many, then all.
        """
        count, field = FEW, self._affordable(self.leaders(), reference)
        while count < self._prompts:
            count = min(2 * count, self._prompts)
            self.enter([reference], count)
            self.enter(field, count)
            field = self._ranked(field)[: max(1, len(field) // 2)]
        return self.best(reference)

    def best(
        self, reference: ZCacheConfig, among: Sequence[ZCacheConfig] | None = None
    ) -> ZCacheConfig:
        """The best of those that ran on all prompts; the reference, unless the gain over it is clear.

        Args:
            among: the only settings that may win beside it; None are all.
        """
        field = self._scores if among is None else [c for c in among if c in self._scores]
        ran = [config for config in field if len(self._scores[config]) >= self._prompts]
        full = sorted(ran, key=lambda c: -float(np.mean(self._scores[c])))
        return next((config for config in full if self._is_clear(config, reference)), reference)

    def _affordable(self, field: list[ZCacheConfig], reference: ZCacheConfig) -> list[ZCacheConfig]:
        """As many of the leaders as can be taken to all prompts by halving."""
        field = [config for config in field if config != reference]
        while len(field) > 1 and self._cost(field, reference) > self._left:
            field = field[:-1]
        return field

    def _cost(self, field: Sequence[ZCacheConfig], reference: ZCacheConfig) -> int:
        """Runs that it takes, if the order of `field` stays."""
        total, count = self._prompts - len(self._scores[reference]), FEW
        drawn = {config: len(self._scores[config]) for config in field}
        while count < self._prompts:
            count = min(2 * count, self._prompts)
            for config in field:
                total += max(0, count - drawn[config])
                drawn[config] = max(count, drawn[config])
            field = field[: max(1, len(field) // 2)]
        return total

    def _is_clear(self, config: ZCacheConfig, reference: ZCacheConfig) -> bool:
        gains = np.subtract(self._scores[config], self._scores[reference])
        return float(gains.mean()) > _error(gains)


def is_clear(gains: np.ndarray, prompts: int) -> bool:
    """Whether gains in dB, of which one counts for `SWING` at most, are more in the mean than their standard error.

    Args:
        prompts: that they are of: several of one prompt tell no more than one.
    """
    gains = gains.clip(-SWING, SWING)
    return bool(gains.mean() > gains.std() / max(prompts - 1, 1) ** 0.5)


def _error(gains: np.ndarray) -> float:
    """Standard error of the mean, with `SPREAD` believed beforehand as if of `BELIEVED` prompts: 4 dB of one prompt,
    0.7 of eight that agree."""
    squares = float(np.square(gains - gains.mean()).sum()) + BELIEVED * SPREAD**2
    return (squares / max(len(gains) - 1 + BELIEVED, 1) / len(gains)) ** 0.5
