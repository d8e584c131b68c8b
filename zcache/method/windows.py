"""How long windows are: so many full steps, spread over a flow's steps by its time (ours; examples/study).

Everything here is plain Python."""

from __future__ import annotations

from collections.abc import Sequence

PULL = 0.25  # of the time, beside that of the steps
# How much denser full steps are at the beginning of a flow whose time falls evenly, by which power of its speed
# there that changes, and by which power of the steps that are left it fades:
DENSER, BY_SPEED, FADING = 4.0, 1.5, 5
HEADS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)  # lengths of a first window, beside the others'
FIRST_SHARE = 0.22  # of a window's share of the time: what may fall in the first
LEAST = 2  # steps of a first window: of one, its anchors are neighbours, and their difference is no slope


def spread(steps: Sequence[int], times: Sequence[float], growth: float = DENSER) -> Sequence[int]:
    """Move the steps between the first and the last, to the beginning and to where the time falls fast.

    Windows are equally long in (1 - `PULL`) of the steps and `PULL` of the time, and grow from the beginning on
    (`_path`): what a picture becomes is decided early, and what a window is off there is carried through all the
    others. The first, which forecasts without a slope, is made shorter, to a half at most, where the time would fall
    in it by more than `FIRST_SHARE` of its share.

    Args:
        steps: ascending.
        times: a flow's time at every step, from 1 down; with none, steps stay.
        growth: how much denser full steps are at the beginning; at 0 all windows but the first are equally long.
    """
    windows = len(steps) - 1
    if windows < 2 or len(times) <= steps[-1] or times[steps[0]] <= times[steps[-1]]:
        return steps
    first, final = steps[0], steps[-1]
    path = _path(times[first : final + 1], growth)

    def nearest(place: float) -> int:
        return first + min(range(len(path)), key=lambda i: abs(path[i] - place))

    share = FIRST_SHARE * (times[first] - times[final]) / windows
    head = HEADS[0]
    for shorter in HEADS:
        behind = nearest(shorter / (windows - 1 + shorter))
        if behind - first < LEAST:
            break
        head = shorter
        if times[first] - times[behind] <= share:
            break
    found = [first]
    for window in range(windows - 1):
        wanted = nearest((window + head) / (windows - 1 + head))
        found.append(max(found[-1] + 1, min(wanted, final - (windows - 1 - window))))
    return [*found, final]


def _path(times: Sequence[float], growth: float) -> list[float]:
    """How much of all windows every step has behind it, from 0 to 1."""
    last, fall = len(times) - 1, times[0] - times[-1]
    speed = (times[0] - times[1]) * last / fall
    denser = growth * min(1.0, max(0.0, speed)) ** BY_SPEED / (FADING + 1)
    path = []
    for step, time in enumerate(times):
        early = 1 - (1 - step / last) ** (FADING + 1)
        own = (1 - PULL) * step / last + PULL * (times[0] - time) / fall
        path.append((own + denser * early) / (1 + denser))
    return path


def early_window(full_steps: Sequence[int], times: Sequence[float]) -> float:
    """Mean length, in a flow's time, of the windows in the first half of a run; 0 without windows."""
    windows = len(full_steps) // 2
    if not windows:
        return 0.0
    return (times[full_steps[0]] - times[full_steps[windows]]) / windows


def half_open(num_steps: int, count: int) -> list[int]:
    """So many steps from the first on, as far from each other up to rounding, the last half as far from the end."""
    length = (num_steps - 1) / (count - 0.5)
    return [round(i * length) for i in range(count)]
