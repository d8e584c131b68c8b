"""Numbers and settings as they are written in a method's name."""

from __future__ import annotations

from typing import Any

from ..errors import ConfigError


def number(text: str, kind: type) -> Any:
    """The number that is written.

    Raises:
        ConfigError: there is none; who knows the method's whole name says it.
    """
    try:
        return kind(text)
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise ConfigError(f"it has {text!r} where {what} stands; write one") from None


def settings(rest: str, known: set[str], first: str = "interval") -> dict[str, Any]:
    """The leading whole number, named `first`, and every name=value after it."""
    leading, *rest_of = rest.split(",")
    values: dict[str, Any] = {first: number(leading, int)}
    for setting in rest_of:
        key, equals, text = setting.partition("=")
        if not equals or key not in known:
            raise ConfigError(
                f"setting {setting!r} is unknown; write name=value with one of: {', '.join(sorted(known))}"
            )
        values[key] = value(text)
    return values


def value(text: str) -> Any:
    words = {"yes": True, "no": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
