"""The length of one pipeline call: what belongs to its run, and what only happens while it lasts."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor

from . import intercept
from .features import Contents, writes

LATENTS = "latents"  # of what a callback may replace, the one that is no conditioning


class Scope:
    """One pipeline call in one thread. Calls from other threads, and from the user's callbacks, are not
    the pipeline's own.

    Attributes:
        replaced: how often a callback put another conditioning in place of what it was given.
        is_called: whether a call of the pipeline is under way, not a loop of one's own.
    """

    def __init__(self) -> None:
        self.replaced = 0
        self.is_called = False
        self._thread = threading.get_ident()
        self._suspended = 0

    @property
    def is_current(self) -> bool:
        """Whether what is called now is called by the pipeline itself."""
        return self._thread == threading.get_ident() and not self._suspended

    @property
    def waits(self) -> bool:
        """Whether a call of the pipeline that comes now would be the first that this scope is in."""
        return self.is_current and not self.is_called

    @property
    def is_own_thread(self) -> bool:
        return self._thread == threading.get_ident()

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Let nothing belong to the run for the length of the block."""
        self._suspended += 1
        try:
            yield
        finally:
            self._suspended -= 1

    @contextmanager
    def around_callbacks(self, arguments: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Return the call's arguments, with this scope suspended inside each of its callbacks.

        diffusers' callback objects keep their class, which pipelines ask for; plain callables are
        wrapped."""
        with ExitStack() as stack:
            wrapped = dict(arguments)
            for name, value in arguments.items():
                if not name.startswith("callback") or not callable(value):
                    continue
                if hasattr(value, "tensor_inputs"):
                    stack.enter_context(_armed(value, self._call_suspended))
                else:
                    wrapped[name] = self._wrapped(value)
            yield wrapped

    def _call_suspended(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if not self.is_own_thread:
            return original(*args, **kwargs)
        given = _conditioning((*args, *kwargs.values()))
        with self.suspended():
            result = original(*args, **kwargs)
        if isinstance(result, Mapping):
            self.replaced += any(
                result.get(name, tensor) is not tensor or writes(tensor) != before
                for name, (tensor, before) in given.items()
            )
        return result

    def _wrapped(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        wrapped = functools.partial(self._call_suspended, callback)
        return functools.update_wrapper(wrapped, callback)


def _conditioning(arguments: tuple[Any, ...]) -> dict[str, tuple[Tensor, int | Contents]]:
    """The tensors but the latents that a callback is given by name, and the writes into each."""
    return {
        name: (tensor, writes(tensor))
        for named in arguments
        if isinstance(named, Mapping)
        for name, tensor in named.items()
        if isinstance(tensor, Tensor) and name != LATENTS
    }


@contextmanager
def _armed(instance: object, handler: intercept.Handler) -> Iterator[None]:
    intercept.arm(instance, "__call__", handler)
    try:
        yield
    finally:
        intercept.disarm(instance, "__call__", handler)
