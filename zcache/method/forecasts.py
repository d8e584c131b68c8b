"""Fitted forecasts: how much of every anchor a cached step takes, found for a model and its full steps (ours).

A base strategy has one rule for all windows of all models. Every such rule is a choice of factors, one for each
anchor (bases.py), so where a model is at hand the factors themselves can be found: those that bring a run nearest to
the uncached one, by least squares, with the anchors as an accelerated run has them (`zcache.tune`).
A step has two rows of factors: of the anchors before it, for its forecast, and of these and the next one, for the
reflection. That a few dozen numbers carry over to other prompts was shown for samplers of few steps by
Shaul et al. (arXiv:2403.01329), who train them through the whole run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError
from . import checks

Factors = tuple[float, ...]
Row = tuple[Factors, Factors]


@dataclass(frozen=True)
class Forecasts:
    """A base strategy (see bases.py) of fitted factors.

    Args:
        full_steps: that they were found for, ascending.
        rows: of every step its factors before the next full step is known, and with it; oldest anchor first.
    """

    full_steps: tuple[int, ...]
    rows: tuple[Row, ...]

    def __call__(self, anchors: Sequence[int], step: int, order: int) -> Factors:
        """The factors of all anchors; reuse where these are not the full steps, or the step is one of them."""
        if tuple(anchors) == self.full_steps[: len(anchors)] and step < len(self.rows):
            row = self.rows[step][step < anchors[-1]]
            if len(row) == len(anchors):
                return row
        unused = min(len(anchors), len(self.full_steps)) - 1
        return (*(0.0 for _ in range(unused)), 1.0)


def lengths(full_steps: Sequence[int], step: int) -> tuple[int, int]:
    """How many factors a step has in either row."""
    if step in full_steps:
        return 0, 0
    before = sum(full < step for full in full_steps)
    return before, before + 1 if before < len(full_steps) else 0


def checked(values: Any, full_steps: Sequence[int]) -> tuple[Row, ...]:
    """The rows of a list such as JSON gives.

    Raises:
        ConfigError: no list of pairs of finite numbers, or not as many as these full steps need.
    """
    try:
        rows = tuple((_numbers(first), _numbers(second)) for first, second in values)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"forecasts is {values!r:.60}; give two lists of finite numbers for every step (zcache.tune finds them)"
        ) from error
    for step, row in enumerate(rows):
        wanted, given = lengths(full_steps, step), tuple(map(len, row))
        if given != wanted:
            raise ConfigError(
                f"forecasts of step {step} are {given[0]} and {given[1]} factors, and these full steps need "
                f"{wanted[0]} and {wanted[1]}; they belong to the full steps that they were found for (zcache.tune "
                "finds both)"
            )
    return rows


def _numbers(values: Iterable[Any]) -> Factors:
    listed = tuple(map(checks.plain, values))
    if not all(map(checks.is_number, listed)):
        raise ValueError
    return tuple(map(float, listed))
