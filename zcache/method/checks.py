"""Checks of single settings: each names the value, the limit and the cure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeGuard

from ..errors import ConfigError

FITTED = "fitted"  # a weight, or a base, that was found for a model


def plain(value: Any) -> Any:
    """A number of NumPy's or PyTorch's as one of Python's; anything else as it is."""
    return value.item() if getattr(value, "shape", None) == () else value


def unbox(settings: object) -> None:
    """Make plain numbers of all that are not, in the fields of a frozen dataclass."""
    for name, value in vars(settings).items():
        object.__setattr__(settings, name, plain(value))


def whole(name: str, value: object, low: int, high: int | None = None) -> None:
    """Raise ConfigError unless `value` is a whole number in low..high."""
    limit = f"a whole number from {low}" + (f" to {high}" if high is not None else " up")
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{name} is {value!r}; give {limit}")
    if value < low or (high is not None and value > high):
        raise ConfigError(f"{name} is {value}; give {limit}")


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a finite number; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def ascending(steps: object) -> tuple[int, ...]:
    """The steps of a list that begins with 0."""
    if not isinstance(steps, Iterable):
        raise ConfigError(f"full_steps is {steps!r}; give a list of steps such as [0, 5, 10]")
    listed = tuple(map(plain, steps))
    for step in listed:
        whole("a full step", step, 0)
    if not listed or listed[0] != 0 or list(listed) != sorted(set(listed)):
        raise ConfigError(
            f"full_steps is {list(listed)}; give ascending steps without repeats that begin with 0"
        )
    return listed


def numbers(name: str, values: object) -> tuple[float, ...]:
    """The numbers of a list, none of them infinite."""
    try:
        listed: tuple[Any, ...] = tuple(map(plain, values))  # type: ignore[call-overload]
    except TypeError:
        listed = (None,)
    if not listed or not all(isinstance(x, int | float) and math.isfinite(x) for x in listed):
        raise ConfigError(f"{name} is {values!r:.60}; give a list of finite numbers, one per step")
    return tuple(float(x) for x in listed)


def times(values: Sequence[float], full_steps: Sequence[int]) -> None:
    """Raise ConfigError unless they are a flow's, and there is one for every full step."""
    if not all(0 <= time <= 1 for time in values):
        raise ConfigError(
            f"times are from {min(values):g} to {max(values):g}; give a flow's time at every step, from 0 "
            "(the picture) to 1 (noise)"
        )
    if full_steps[-1] >= len(values):
        raise ConfigError(
            f"{len(values)} times are given, and step {full_steps[-1]} is a full one; give a time for every step"
        )


def weight(function: Callable[[int, int], Any]) -> None:
    """Raise ConfigError unless a weight of one's own gives numbers from 0 to 1, tried on short windows."""
    for n in (1, 2, 5):
        for j in range(1, n + 1):
            try:
                given = plain(function(j, n))
            except Exception as error:
                raise ConfigError(
                    f"weight fails at step {j} of a window of {n} ({type(error).__name__}: {error}); give a function "
                    "of these two numbers"
                ) from error
            if not is_number(given) or not 0 <= given <= 1:
                raise ConfigError(
                    f"weight is {given!r} at step {j} of a window of {n}; give a number from 0 to 1"
                )


def relax(value: object, names: Sequence[str]) -> None:
    """Raise ConfigError unless it is one of the names, a number from 0 to 1, or None."""
    if value is None or value in names:
        return
    if not is_number(value) or not 0 <= value <= 1:
        known = ", ".join(map(repr, names))
        raise ConfigError(f"relax is {value!r}; give {known}, a number from 0 to 1, or None")


def threshold(value: object, base: str) -> None:
    """Raise ConfigError unless it is None, or above 0 and TeaCache's."""
    if value is None:
        return
    if base != "teacache":
        raise ConfigError(
            f"threshold is {value!r} but base is {base!r}; a threshold belongs to base 'teacache'"
        )
    if not is_number(value) or value <= 0:
        raise ConfigError(f"threshold is {value!r}; give a number above 0, for example 0.3")


def fitted(config: Any) -> None:
    """Raise ConfigError unless what was fitted is given where settings ask for it, and belongs to explicit full
    steps."""
    for name, noun in (("factors", "weight"), ("forecasts", "base")):
        asked, given = getattr(config, noun), getattr(config, name)
        if (asked == FITTED) != (given is not None):
            raise ConfigError(
                f"{noun} is {asked!r} and {name} are {'' if given else 'not '}given; give {name} with "
                f"{noun}='{FITTED}', and only with it (zcache.tune finds them)"
            )
        if given is not None and config.full_steps is None:
            raise ConfigError(
                f"{name} belong to explicit steps, and full_steps is None; give full_steps"
            )
        if given is not None and config.times is not None and len(config.times) != len(given):
            raise ConfigError(
                f"{len(given)} {name} and {len(config.times)} times; give one each per step"
            )
    if config.guidance is not None and (config.forecasts is None or not is_number(config.guidance)):
        raise ConfigError(
            f"guidance is {config.guidance!r}; give the scale that forecasts were fitted at, with them, or None"
        )
    if config.times is not None:
        if config.full_steps is None:
            raise ConfigError(
                "times belong to explicit steps, and full_steps is None; give full_steps"
            )
        times(config.times, config.full_steps)
