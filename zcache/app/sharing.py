"""Runs in progress: equal ones share one result, and one at a time has the device."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from .errors import was_stopped

Stage = TypeVar("Stage")
POLL_SECONDS = 0.2

_lock = threading.Lock()
_flights: dict[Hashable, Flight] = {}


class Flight(Generic[Stage]):
    """One run in progress: the first caller makes its stages, the others read along."""

    def __init__(self) -> None:
        self._stages: list[Stage] = []
        self._changed = threading.Condition()
        self._error: Exception | None = None
        self._ended = self._abandoned = False

    def lead(self, stages: Iterator[Stage]) -> Iterator[Stage]:
        """Make and yield the stages, for the others too."""
        try:
            for stage in stages:
                with self._changed:
                    self._stages.append(stage)
                    self._changed.notify_all()
                yield stage
        except Exception as error:
            if was_stopped(error):
                self._abandoned = True
            else:
                self._error = error
            raise
        except BaseException:  # the caller went away
            self._abandoned = True
            raise
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def follow(self, check: Callable[[], None]) -> Generator[Stage, None, bool]:
        """Yield the stages another caller makes; `check` is called while waiting, and may raise.

        Returns True if the run went on to its end, False if its maker gave up.
        """
        seen = 0
        while True:
            check()
            with self._changed:
                if seen == len(self._stages) and not self._ended:
                    self._changed.wait(POLL_SECONDS)
                fresh, ended = self._stages[seen:], self._ended
            seen += len(fresh)
            yield from fresh
            if ended and not fresh:
                break
        if self._error is not None:
            raise self._error
        return not self._abandoned


def shared(
    key: Hashable, make: Callable[[], Iterator[Stage]], check: Callable[[], None]
) -> Iterator[Stage]:
    """Yield the stages of the run of this key: those in progress if there are any, else `make`'s."""
    while True:
        with _lock:
            flight = _flights.get(key)
            leads = flight is None
            if flight is None:
                flight = _flights[key] = Flight()
        if leads:
            try:
                yield from flight.lead(make())
            finally:
                with _lock:
                    _flights.pop(key, None)
            return
        if (yield from flight.follow(check)):
            return


@contextmanager
def turn(lock: threading.Lock, check: Callable[[], None]) -> Iterator[None]:
    """Hold `lock` for the length of the block; `check` is called while waiting for it, and may
    raise."""
    while not lock.acquire(timeout=POLL_SECONDS):
        check()
    try:
        yield
    finally:
        lock.release()
