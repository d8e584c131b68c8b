"""Where the full steps stand best: knots of a piecewise linear curve, placed exactly.

With reflection a window is nearly an interpolation between its two anchors, so what it costs depends
on its two ends only, and dynamic programming finds the best full steps. All that is needed of the
recorded features r_0 … r_{T-1} is their Gram matrix G[i][j] = <r_i, r_j>: the error of a step is a
combination sum_i c_i r_i of features, and its squared norm is cᵀ G c."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ..errors import ConfigError
from .registry import Registry

Gram = Sequence[Sequence[float]]
Terms = dict[int, float]  # a combination of features: factor by step
Cost = Callable[[Gram, Sequence[float], int, int], float]

_costs: Registry[Cost] = Registry("cost")
register, unregister, names = _costs.register, _costs.unregister, _costs.names
resolve = _costs.__getitem__


def step_lengths(times: Sequence[float]) -> list[float]:
    """How far each step moves the latent: |t_k - t_{k+1}| in the flow's own time, 0 behind the last.

    Args:
        times: t of every step, 1 (noise) to 0: the flow sigma, or s / (1 + s) with s = sigma/alpha of
            a diffusion schedule.
    """
    return [abs(a - b) for a, b in zip(times, [*times[1:], 0.0], strict=True)]


def inner(gram: Gram, a: Terms, b: Terms) -> float:
    """<sum a_i r_i, sum b_j r_j> = aᵀ G b."""
    return sum(x * y * gram[i][j] for i, x in a.items() for j, y in b.items())


def squared(gram: Gram, terms: Terms) -> float:
    """The squared norm of a combination; rounding below 0 counts as 0."""
    return max(0.0, inner(gram, terms, terms))


def add(total: Terms, terms: Terms, factor: float = 1.0) -> None:
    """total += factor * terms."""
    for step, value in terms.items():
        total[step] = total.get(step, 0.0) + factor * value


def interpolation_error(start: int, stop: int, step: int) -> Terms:
    """The straight line between the features at `start` and `stop`, minus the feature at `step`."""
    share = (step - start) / (stop - start)
    terms: Terms = {}
    for k, value in ((start, 1 - share), (stop, share), (step, -1.0)):
        add(terms, {k: value})
    return terms


@register("signed")
def signed(gram: Gram, lengths: Sequence[float], start: int, stop: int) -> float:
    """‖ sum_k dt_k e_k ‖: what the window does to the latent at its end, errors of equal sign adding up."""
    total: Terms = {}
    for k in range(start + 1, stop):
        add(total, interpolation_error(start, stop, k), lengths[k])
    return math.sqrt(squared(gram, total))


@register("signed squared")
def signed_squared(gram: Gram, lengths: Sequence[float], start: int, stop: int) -> float:
    """The square of `signed`: large windows' errors count for more."""
    return signed(gram, lengths, start, stop) ** 2


@register("rms")
def rms(gram: Gram, lengths: Sequence[float], start: int, stop: int) -> float:
    """sqrt(sum_k ‖dt_k e_k‖²): errors do not cancel."""
    steps = range(start + 1, stop)
    errors = (squared(gram, interpolation_error(start, stop, k)) * lengths[k] ** 2 for k in steps)
    return math.sqrt(sum(errors))


@register("fitted")
def fitted(gram: Gram, lengths: Sequence[float], start: int, stop: int) -> float:
    """`signed` after every step's own best blend of the line and the older anchor's feature.

    The past of a window depends on the anchor before it; the older anchor's feature stands for it, so
    that the cost is a function of the two ends."""
    total: Terms = {}
    direction: Terms = {start: -1.0, stop: 1.0}
    span = squared(gram, direction)
    for k in range(start + 1, stop):
        error = {start: 1.0, k: -1.0}
        share = -inner(gram, error, direction) / span if span > 0 else 0.0
        add(error, direction, min(max(share, 0.0), 1.5 * (k - start) / (stop - start)))
        add(total, error, lengths[k])
    return math.sqrt(squared(gram, total))


def tail_cost(gram: Gram, lengths: Sequence[float], before: int, last: int) -> float:
    """‖ sum_k dt_k e_k ‖ of the steps behind the last full one, on the line through the last two."""
    total: Terms = {}
    for k in range(last + 1, len(lengths)):
        add(total, interpolation_error(before, last, k), lengths[k])
    return math.sqrt(squared(gram, total))


def place(
    gram: Gram, lengths: Sequence[float], count: int, cost: str = "signed", open_end: bool = False
) -> tuple[int, ...]:
    """The `count` full steps whose windows cost least in sum; exact, O(T² count).

    Args:
        gram: T x T inner products of the features of an uncached run.
        lengths: dt of every step, see `step_lengths`.
        count: number of full steps; the first step is one of them.
        cost: a registered cost of a window.
        open_end: let steps behind the last full one be forecasts; else the last step is full.

    Raises:
        ConfigError: an unknown cost, or a count that is not from 2 to T.
    """
    return place_all(gram, lengths, [count], cost, open_end)[count]


def place_all(
    gram: Gram,
    lengths: Sequence[float],
    counts: Sequence[int],
    cost: str = "signed",
    open_end: bool = False,
) -> dict[int, tuple[int, ...]]:
    """`place` for several counts, on one table of the windows' costs."""
    num_steps, of_window = len(lengths), _costs[cost]
    for count in counts:
        if not 2 <= count <= num_steps:
            raise ConfigError(
                f"{count} full steps of {num_steps}; give a number from 2 to {num_steps}"
            )
    windows = {
        (a, b): of_window(gram, lengths, a, b) for b in range(1, num_steps) for a in range(b)
    }
    best: list[dict[int, tuple[float, int]]] = [{0: (0.0, -1)}]
    for _ in range(max(counts) - 1):
        before = best[-1]
        best.append(
            {
                b: min((before[a][0] + windows[a, b], a) for a in before if a < b)
                for b in range(1, num_steps)
                if any(a < b for a in before)
            }
        )
    power = 2 if cost == "signed squared" else 1
    return {
        count: _traced(best, count, windows, gram, lengths, power if open_end else 0)
        for count in counts
    }


def _traced(
    best: list[dict[int, tuple[float, int]]],
    count: int,
    windows: dict[tuple[int, int], float],
    gram: Gram,
    lengths: Sequence[float],
    power: int,
) -> tuple[int, ...]:
    """The knots of the least sum, back from the end; `power` of the tail's cost, 0 for a full last step."""
    last = len(lengths) - 1
    if power == 0:
        steps = [last]
        level = count - 1
    else:
        level = count - 2
        _, a, b = min(
            (total + windows[a, b] + tail_cost(gram, lengths, a, b) ** power, a, b)
            for a, (total, _) in best[level].items()
            for b in range(a + 1, last + 1)
        )
        steps = [b, a]
    while level > 0:
        steps.append(best[level][steps[-1]][1])
        level -= 1
    return tuple(reversed(steps))
