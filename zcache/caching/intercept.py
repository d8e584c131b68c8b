"""Put a handler in front of a method of ONE instance, without touching the instance.

Python looks dunder methods such as `__call__` up on the class, and accelerate, group offload and
torch.compile all live behind `__call__` or on `forward`. So the class gets a dispatcher that is
inert for every instance but the armed ones, and it is taken away with the last of them. Instances
stay picklable, copies of them are plain."""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable
from typing import Any

Handler = Callable[..., Any]

_lock = threading.Lock()
_armed: dict[tuple[type, str], weakref.WeakKeyDictionary[object, Handler]] = {}


def arm(instance: object, method: str, handler: Handler) -> None:
    """From now on `instance.method(*args)` calls `handler(original, *args)`; it is bound."""
    cls = type(instance)
    with _lock:
        if (cls, method) not in _armed:
            _armed[cls, method] = weakref.WeakKeyDictionary()
            _install(cls, method)
        _armed[cls, method][instance] = handler


def disarm(instance: object, method: str) -> None:
    """The exact inverse of `arm`."""
    cls = type(instance)
    with _lock:
        handlers = _armed[cls, method]
        del handlers[instance]
        if not handlers:
            del _armed[cls, method]
            _uninstall(cls, method)


def is_armed(instance: object, method: str) -> bool:
    """Whether a handler stands in front of `instance.method`."""
    handlers = _armed.get((type(instance), method))
    return handlers is not None and instance in handlers


def _install(cls: type, method: str) -> None:
    own = cls.__dict__.get(method)
    handlers = _armed[cls, method]

    @functools.wraps(getattr(cls, method))
    def dispatch(self: Any, *args: Any, **kwargs: Any) -> Any:
        bound = (
            own.__get__(self, type(self)) if own is not None else getattr(super(cls, self), method)
        )
        handler = handlers.get(self)
        if handler is None or type(self) is not cls:
            return bound(*args, **kwargs)
        return handler(bound, *args, **kwargs)

    dispatch.__zcache_own__ = own  # type: ignore[attr-defined]
    setattr(cls, method, dispatch)


def _uninstall(cls: type, method: str) -> None:
    own = cls.__dict__[method].__zcache_own__
    if own is None:
        delattr(cls, method)
    else:
        setattr(cls, method, own)
