"""DPCache (arXiv:2602.22654): full steps placed by dynamic programming, for forecasts without reflection.

A forecast between the full steps j and k depends on the full step i before j, too, so the cost of a window has
three indices: C[i, j, k] is the sum over the steps between of the error of a forecast from i and j. The
features of one uncached run are enough (the authors take ten, and report the same steps from one).

Chosen: the 2-norm, which the Gram matrix of `zcache.tune` gives, for their 1-norm; the residual of the block
stack for their last layer's features; their order 2, with the step before i in place of the full step before
it, as in their description; their first three steps full. The recursion is over pairs of neighbouring full
steps, which is exact; theirs keeps one predecessor of each step."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from ...caching.enable import enabled
from ...caching.handle import ZCache
from ...errors import ConfigError
from ...measure.tune.gram import recording
from ...method import bases
from ...method.config import ZCacheConfig
from ...method.fitting import forecast
from ...method.knots import Gram, add, squared

FIRST = 3  # steps that are always full
ORDER = 2
FEATURE = "stack"


def dpcache(
    pipe: Any, gram: Gram, count: int, order: int = ORDER
) -> AbstractContextManager[ZCache]:
    """TaylorSeer at the `count` steps that are best for it; raises as `place` and `zcache.enable` do."""
    config = ZCacheConfig(
        full_steps=place(gram, count, order),
        base=bases.TAYLORSEER,
        order=order,
        granularity=FEATURE,
        reflect=False,
    )
    return enabled(pipe, config)


def calibrated(pipe: Any, draw: Callable[[], Any]) -> Gram:
    """The Gram matrix of one uncached run, by `draw`.

    Raises:
        UnsupportedPipelineError: the transformer is not described.
    """
    with recording(pipe, FEATURE) as rows:
        draw()
        return rows[FEATURE].gram().tolist()


def place(gram: Gram, count: int, order: int = ORDER) -> tuple[int, ...]:
    """The `count` full steps, the first three among them, of the least sum of costs; steps behind the last are
    forecasts, too.

    Args:
        gram: T x T inner products of the features of an uncached run.

    Raises:
        ConfigError: fewer full steps than three, or more than there are steps.
    """
    num_steps = len(gram)
    check(count, num_steps)
    tensor = costs(gram, order)
    pair = (FIRST - 2, FIRST - 1)
    best: dict[tuple[int, int], float] = {pair: 0.0}
    traces: list[dict[tuple[int, int], int]] = []
    for _ in range(count - FIRST):
        reached: dict[tuple[int, int], float] = {}
        trace: dict[tuple[int, int], int] = {}
        for (i, j), total in best.items():
            for k in range(j + 1, num_steps):
                value = total + tensor[i, j][k - j - 1]
                if value < reached.get((j, k), math.inf):
                    reached[j, k], trace[j, k] = value, i
        best = reached
        traces.append(trace)
    _, pair = min(
        (total + tensor[ends][num_steps - ends[1] - 1], ends) for ends, total in best.items()
    )
    steps = [pair[1], pair[0]]
    for trace in reversed(traces):
        steps.append(trace[steps[-1], steps[-2]])
    return tuple(range(FIRST)) + tuple(sorted(set(steps) - set(range(FIRST))))


def check(count: int, num_steps: int) -> None:
    """Raise ConfigError unless so many full steps can be placed."""
    if not FIRST <= count <= num_steps:
        raise ConfigError(
            f"{count} full steps of {num_steps}; give a number from {FIRST} to {num_steps}"
        )


def costs(gram: Gram, order: int = ORDER) -> dict[tuple[int, int], list[float]]:
    """C[i, j, k] as lists over k = j + 1, j + 2, ... T: the errors of the steps between j and k, added up."""
    num_steps, found = len(gram), {}
    for i in range(FIRST - 2, num_steps):
        for j in range(i + 1, num_steps):
            known = [*range(max(0, i - order + 1), i + 1), j]
            sums = [0.0]
            for k in range(j + 1, num_steps):
                error = forecast(bases.taylorseer, known, k, order)
                add(error, {k: -1.0})
                sums.append(sums[-1] + math.sqrt(squared(gram, error)))
            found[i, j] = sums
    return found
