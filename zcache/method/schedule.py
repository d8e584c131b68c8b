"""Which steps are computed in full, and the zig-zag walk over the steps (Fig. 3).

A step is an index of the sampling loop: 0 is the noisiest, counting up. Everything here is plain
Python."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from ..errors import ConfigError
from .registry import Registry
from .weights import Fitted, WeightFunction, weight_at
from .windows import half_open, spread

Placement = Callable[[int, int, int, bool, Sequence[float]], Iterable[int]]

_placements: Registry[Placement] = Registry("placement")
register, unregister, placements = _placements.register, _placements.unregister, _placements.names


class Kind(Enum):
    """What a pass of the denoiser is; the value is its letter in a printed walk."""

    FULL = "F"
    FORECAST = "f"
    REFLECT = "r"

    @property
    def word(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Pass:
    """One visit of a step. `weight` is W(k) of a reflect pass."""

    step: int
    kind: Kind
    weight: float | None = None


@register("even")
def even(
    num_steps: int, interval: int, warmup: int, last: bool, times: Sequence[float] = ()
) -> Iterator[int]:
    """Yield the ends of as few windows of at most N steps as will do, all equally long up to rounding.

    Starts after `warmup` full steps (1: only step 0) and ends on the last step, or, with `last`
    off, leaves a tail of N - 1 forecasts behind the last full step."""
    first, final = warmup - 1, num_steps - 1
    yield from range(min(first, num_steps))
    if not last:
        final = first + (final - first) // interval * interval
    windows = -(-(final - first) // interval)
    for i in range(windows + 1):
        yield first + (round(i * (final - first) / windows) if windows > 0 else 0)


@register("timed")
def timed(
    num_steps: int, interval: int, warmup: int, last: bool, times: Sequence[float] = ()
) -> Iterator[int]:
    """Yield as many steps as `even`, drawn to a flow's beginning and to where its time falls fast (windows.py);
    `even` without times. With `last` off the last full step stands half a window before the end."""
    usual = list(even(num_steps, interval, warmup, True, times))
    windows, first = len(usual) - warmup, warmup - 1
    if not last and 0 < windows < num_steps - warmup:
        usual[first:] = (first + step for step in half_open(num_steps - first, windows + 1))
    yield from usual[: warmup - 1]
    yield from spread(usual[warmup - 1 :], times)


def shifted(num_steps: int, shift: float | None) -> list[float]:
    """Return a flow's time at every step, shift t / (1 + (shift - 1) t) of an even t; none without a shift.

    Raises:
        ConfigError: the shift is not above 0.
    """
    if shift is None:
        return []
    if not 0 < shift < math.inf:
        raise ConfigError(f"shift is {shift:g}; give a number above 0, such as 3")
    even_times = (1 - step / num_steps for step in range(num_steps))
    return [shift * t / (1 + (shift - 1) * t) for t in even_times]


@register("warmup")
def after_warmup(
    num_steps: int, interval: int, warmup: int, last: bool, times: Sequence[float] = ()
) -> Iterator[int]:
    """Yield {0 … warmup-1}, then every N-th step after the last of them: the paper's and
    TaylorSeer's rule."""
    yield from range(warmup - 1)
    yield from range(warmup - 1, num_steps, interval)
    if last:
        yield num_steps - 1


def full_steps(
    num_steps: int,
    interval: int,
    placement: str = "timed",
    warmup: int = 1,
    last: bool = True,
    times: Sequence[float] = (),
) -> tuple[int, ...]:
    """Return the steps that are computed in full, ascending; step 0 always is.

    Args:
        num_steps: steps of the sampling loop.
        interval: N, the distance between neighbouring full steps (N - 1 cached steps between them);
            `even` may make it smaller to end on the last step, and `timed` makes some windows longer
            and others shorter.
        placement: a registered rule: `timed`, `even` or `warmup`.
        warmup: how many steps at the beginning are all full; 1 means step 0 alone.
        last: whether the last step is always full; `timed` otherwise ends half a window before it.
        times: a flow's time at every step, from 1 down, for `timed`; without them it is `even`.

    Raises:
        ConfigError: an interval above the steps, or an unknown placement.
    """
    if interval > num_steps:
        raise ConfigError(
            f"interval {interval} is above the {num_steps} sampling steps; "
            f"choose an interval from 1 to {num_steps}, or more steps"
        )
    steps = {0, *_placements[placement](num_steps, interval, warmup, last, times)}
    return tuple(sorted(step for step in steps if step < num_steps))


def resolve_placement(placement: str) -> Placement:
    """Return the rule behind a registered name; raises ConfigError for an unknown one."""
    return _placements[placement]


@dataclass(frozen=True)
class Reflection:
    """Which windows are gone back over.

    Args:
        on: none at all when off.
        first_window: whether the first window is, too.
        last_window: whether a window that the very last step closes is, too.
    """

    on: bool = True
    first_window: bool = True
    last_window: bool = True

    def applies(self, stop: int, windows_before: int, num_steps: int) -> bool:
        """Return whether the window closed at `stop` is reflected, after `windows_before` other
        windows."""
        if not self.on or (windows_before == 0 and not self.first_window):
            return False
        return self.last_window or stop != num_steps - 1


def walk(
    num_steps: int, full: tuple[int, ...], weight: WeightFunction | Fitted, reflection: Reflection
) -> tuple[Pass, ...]:
    """Return every pass of a run in order: out to the next full step, back, and again with the
    blend (Fig. 3).

    With an anchor at `start`, a window is forecast at start+1 … stop-1, computed in full at `stop`,
    and re-run at start+1 … stop with weights W(start+1) … W(stop). The re-run at `stop` uses the
    features just computed (W = 1), so no full computation is added. Steps after the last full one
    stay forecasts."""
    passes: list[Pass] = []
    start = windows_before = 0
    for step in range(num_steps):
        if step not in full:
            passes.append(Pass(step, Kind.FORECAST))
            continue
        passes.append(Pass(step, Kind.FULL))
        if step - start > 1:
            if reflection.applies(step, windows_before, num_steps):
                passes += [
                    Pass(k, Kind.REFLECT, weight_at(weight, k, start, step))
                    for k in range(start + 1, step + 1)
                ]
            windows_before += 1
        start = step
    return tuple(passes)


def render(passes: Iterable[Pass]) -> str:
    """Return the walk as text, for example `0F 1f 2f 3F 1r 2r 3r 4f …`."""
    return " ".join(f"{p.step}{p.kind.value}" for p in passes)


@dataclass(frozen=True)
class Plan:
    """What a run will do: its full steps and the walk over all passes."""

    num_steps: int
    full_steps: tuple[int, ...]
    walk: tuple[Pass, ...]

    def __str__(self) -> str:
        return render(self.walk)

    def count(self, kind: Kind) -> int:
        """How many passes of a kind the walk has."""
        return sum(p.kind is kind for p in self.walk)
