"""Checks of single settings: each names the value, the limit and the cure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, TypeGuard

from ..errors import ConfigError


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
    listed = tuple(steps)
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
        listed: tuple[Any, ...] = tuple(values)  # type: ignore[arg-type]
    except TypeError:
        listed = (None,)
    if not listed or not all(isinstance(x, int | float) and math.isfinite(x) for x in listed):
        raise ConfigError(f"{name} is {values!r:.60}; give a list of finite numbers, one per step")
    return tuple(float(x) for x in listed)
