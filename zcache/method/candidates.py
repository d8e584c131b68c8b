"""What may be tried on a model: where the full steps stand, and how much of the correction is kept."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from . import bases, fitting, knots, windows
from .config import FITTED, ZCacheConfig
from .forecasts import Row
from .knots import Gram

DEFAULTS: dict[str, Any] = {"base": bases.AUTOMATIC}
# In the order of promise; what is not named is the default, but for the base, which is TaylorSeer (see `settings`).
SETTINGS: tuple[dict[str, Any], ...] = (
    {"weight": "future", "relax": "time"},
    {"weight": FITTED, "relax": "time"},
    {"weight": "future", "relax": "time", "order": 2},
    {"weight": "linear", "relax": "time", "base": bases.DAMPED},  # a guided flow's own
    {"weight": "linear", "relax": "time", "base": bases.FORA},
    {"weight": "linear", "relax": "time"},
    {"weight": "future", "relax": "sigma"},
    {"weight": "logarithmic", "relax": 0.8},
    {"weight": "logarithmic", "relax": None},
    {"weight": FITTED, "relax": None, "order": 2},
    {"weight": "linear", "relax": 0.8},
)
# Forecasts fitted in a closed loop, to full steps that are good already: each fit takes runs of its own.
IN_CLOSED_LOOP: dict[str, Any] = {"base": bases.FITTED, "weight": "future", "relax": None}
ENDS_OPEN = (
    False,
    True,
)  # of a flow; a diffusion sampler ends on its smallest change: the other first


# How strongly windows may grow from a run's beginning on, beside the default.
GROWTHS = (0.0, 1.0, 2.0, 8.0)


def settings(flow: bool = True) -> list[dict[str, Any]]:
    """SETTINGS in the order of promise for a kind of sampler.

    A diffusion's have the second derivative first, and forecast as its defaults do, but for fitted weights,
    which were computed for steps that are counted.
    """
    if flow:
        return list(SETTINGS)
    ordered = sorted(SETTINGS, key=lambda own: own.get("order", 1) != 2)
    return [own if own["weight"] == FITTED else {**DEFAULTS, **own} for own in ordered]


def placements(
    gram: Gram, times: Sequence[float], counts: Sequence[int], flow: bool = True
) -> dict[int, list[tuple[int, ...]]]:
    """Lists of full steps by their number, without repeats: the knots of every cost, the untuned rules, and windows
    that grow more or less than by these.

    They take turns, so that few trials see all.

    Args:
        gram: T x T inner products of the features.
        times: flow times of the T steps.
        counts: numbers of full steps.
        flow: whether the last step is first tried full (else, open).
    """
    lengths = knots.step_lengths(times)
    tuned: dict[int, list[tuple[int, ...]]] = {count: [] for count in counts}
    ends = ENDS_OPEN if flow else ENDS_OPEN[::-1]
    for open_end in ends:
        for cost in knots.names():
            for count, steps in knots.place_all(gram, lengths, counts, cost, open_end).items():
                tuned[count].append(steps)
    found, even = {}, range(len(lengths), -1, -1)
    for count in counts:
        rules = untuned(len(lengths), count, times if flow else ())
        # A diffusion's time says little of where its steps are large: windows grow by the step there.
        turns = zip_longest(tuned[count], rules, grown(rules[0], times if flow else even))
        found[count] = [steps for turn in turns for steps in turn if steps is not None]
    return {count: list(dict.fromkeys(lists)) for count, lists in found.items()}


def grown(full_steps: Sequence[int], times: Sequence[float]) -> list[tuple[int, ...]]:
    """As many full steps between the same ends, their windows growing by `GROWTHS`."""
    return [tuple(windows.spread(full_steps, times, growth)) for growth in GROWTHS]


def untuned(num_steps: int, count: int, flow_times: Sequence[float] = ()) -> list[tuple[int, ...]]:
    """The default's, then even, even with an open end, and the paper's rule where an interval gives this number.

    Args:
        num_steps: of the run.
        count: full steps, 2 or more.
        flow_times: a flow's time at every step; none is a diffusion sampler, which ends open.
    """
    last = num_steps - 1
    even = tuple(round(i * last / (count - 1)) for i in range(count))
    open_end = tuple(round(i * num_steps / count) for i in range(count))
    if flow_times:
        lists = [tuple(windows.spread(even, flow_times)), even, open_end]
    else:
        lists = [tuple(windows.half_open(num_steps, count)), open_end, even]
    papers = (ZCacheConfig.paper(n).plan(num_steps).full_steps for n in range(1, num_steps + 1))
    lists += [steps for steps in papers if len(steps) == count]
    return list(dict.fromkeys(lists))


def config(
    gram: Gram | None,
    times: Sequence[float],
    full_steps: Sequence[int],
    setting: dict[str, Any],
    granularity: str = "stack",
    forecasts: tuple[Row, ...] | None = None,
) -> ZCacheConfig:
    """The settings of one candidate, fitted weights computed (which alone need the Gram matrix).

    Args:
        forecasts: fitted ones, for `IN_CLOSED_LOOP`.
    """
    own = {"base": bases.TAYLORSEER, **setting, "forecasts": forecasts}
    if own.get("weight") == FITTED:
        assert gram is not None
        own["factors"] = fitting.fit(gram, full_steps, order=own.get("order", 1))
    return ZCacheConfig(
        full_steps=tuple(full_steps), times=tuple(times), granularity=granularity, **own
    )
