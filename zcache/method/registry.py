"""A table of named things that users may extend: weights, bases, placements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from ..errors import ConfigError

T = TypeVar("T")


class Registry(Generic[T]):
    """Names in the order of registration; an unknown name raises and lists the known ones.

    Args:
        noun: what an entry is called in messages.
        others: names that stand for a choice among the entries, for messages only.
    """

    def __init__(self, noun: str, others: tuple[str, ...] = ()) -> None:
        self._noun, self._others = noun, others
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that enters its object under `name`.

        Raises:
            ConfigError: the name is taken.
        """

        def enter(entry: T) -> T:
            if name in self._entries:
                raise ConfigError(
                    f"{self._noun} {name!r} is registered already; choose another name"
                )
            self._entries[name] = entry
            return entry

        return enter

    def unregister(self, name: str) -> None:
        """Forget `name`."""
        del self._entries[name]

    def names(self) -> tuple[str, ...]:
        return tuple(self._entries)

    def __getitem__(self, name: str) -> T:
        if not isinstance(name, str) or name not in self._entries:
            known = ", ".join((*self._others, *self._entries))
            raise ConfigError(f"{self._noun} {name!r} is unknown; choose one of: {known}")
        return self._entries[name]
