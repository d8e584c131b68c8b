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
        others: names that stand for a choice among the entries, and are no entries.
        reserved: names that mean something else, which no message offers.
    """

    def __init__(
        self, noun: str, others: tuple[str, ...] = (), reserved: tuple[str, ...] = ()
    ) -> None:
        self._noun, self._others = noun, others
        self._taken = (*others, *reserved)
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that enters its object under `name`.

        Raises:
            ConfigError: the name is taken, or has a meaning of its own.
        """

        def enter(entry: T) -> T:
            if name in self._taken:
                raise ConfigError(
                    f"{self._noun} {name!r} has a meaning of its own; choose another name"
                )
            if name in self._entries:
                raise ConfigError(
                    f"{self._noun} {name!r} is registered already; choose another name"
                )
            self._entries[name] = entry
            return entry

        return enter

    def unregister(self, name: str) -> None:
        """Forget `name`; raises ConfigError as a look-up does."""
        self[name]
        del self._entries[name]

    def names(self) -> tuple[str, ...]:
        return tuple(self._entries)

    def __getitem__(self, name: str) -> T:
        if not isinstance(name, str) or name not in self._entries:
            known = ", ".join((*self._others, *self._entries))
            raise ConfigError(f"{self._noun} {name!r} is unknown; choose one of: {known}")
        return self._entries[name]
