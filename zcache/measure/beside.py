"""Plain steps among the passes of an accelerated run, timed outside its clock, to tell its pace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from .clock import LoopClock, denoisers

FIRST = 2  # of a run's full steps, the first that has a plain one beside it: the one before is warm


class Beside:
    """Repeats the denoiser calls of the pass before, without the cache, as a full step begins.

    Args:
        most: how many plain steps are made in a run.
    """

    def __init__(self, pipe: Any, clock: LoopClock, most: int) -> None:
        self._pipe, self._clock, self._most = pipe, clock, most
        self._calls: list[tuple[Any, Any, Any]] = []
        self._begins = self._repeats = False
        self._full = 0
        self.seconds: list[float] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Remember the calls of each pass for the length of the block."""
        with ExitStack() as stack:
            for denoiser in denoisers(self._pipe):
                handle = denoiser.register_forward_pre_hook(self._remember, with_kwargs=True)
                stack.callback(handle.remove)
            yield
        self._calls = []

    def on_pass(self, kind: str) -> None:
        """Make a plain step if a full one begins and there are calls of a pass before to repeat."""
        self._begins = True
        self._full += kind == "full"
        due = kind == "full" and self._full >= FIRST and len(self.seconds) < self._most
        if not due or not self._calls:
            return
        self._repeats = True
        try:
            with self._clock.paused():
                began = self._clock.now()
                for denoiser, args, kwargs in self._calls:
                    denoiser(*args, **kwargs)
                self.seconds.append(self._clock.now() - began)
        finally:
            self._repeats = False

    def _remember(self, denoiser: Any, args: Any, kwargs: Any) -> None:
        if self._repeats:
            return
        if self._begins:
            self._calls, self._begins = [], False
        self._calls.append((denoiser, args, kwargs))
