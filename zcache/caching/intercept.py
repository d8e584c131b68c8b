"""Put handlers in front of a method of ONE instance, without touching the instance.

Python looks dunder methods such as `__call__` up on the class, and accelerate, group offload and
torch.compile all live behind `__call__` or on `forward`. So the class gets a dispatcher that is
inert for every instance but the armed ones, and it is taken away with the last of them. Instances
stay picklable, copies of them are plain."""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

Handler = Callable[..., Any]
Notice = Callable[[Any], None]  # told of an instance that is not armed


class _Front:
    """What stands in front of one method of one class."""

    def __init__(self) -> None:
        self.handlers: weakref.WeakKeyDictionary[object, tuple[Handler, ...]]
        self.handlers = weakref.WeakKeyDictionary()
        self.locks: weakref.WeakKeyDictionary[object, Any] = weakref.WeakKeyDictionary()
        self.notices: tuple[Notice, ...] = ()


_lock = threading.Lock()
_fronts: dict[tuple[type, str], _Front] = {}


def arm(instance: object, method: str, handler: Handler) -> None:
    """Let `handler(original, *args)` answer `instance.method(*args)` from now on; `original` is
    bound.

    Of several handlers the one armed last is called first, with the next as its original."""
    with _lock:
        front = _front(type(instance), method)
        front.handlers[instance] = (*front.handlers.get(instance, ()), handler)
        front.locks.setdefault(instance, threading.RLock())


def disarm(instance: object, method: str, handler: Handler | None = None) -> None:
    """Undo `arm` exactly: take `handler` away, or the one armed last."""
    key = (type(instance), method)
    with _lock:
        kept = list(_fronts[key].handlers.pop(instance))
        kept.pop() if handler is None else kept.remove(handler)
        if kept:
            _fronts[key].handlers[instance] = tuple(kept)
        else:
            del _fronts[key].locks[instance]
        _leave(key)


def lock(instance: object, method: str) -> AbstractContextManager[Any]:
    """Return one lock for all who stand in front of `instance.method`; inert where nobody does."""
    front = _fronts.get((type(instance), method))
    found = front.locks.get(instance) if front is not None else None
    return found if found is not None else nullcontext()


def watch(cls: type, method: str, notice: Notice) -> None:
    """Call `notice(instance)` whenever `method` of an instance of `cls` that is not armed is called."""
    with _lock:
        front = _front(cls, method)
        front.notices = (*front.notices, notice)


def unwatch(cls: type, method: str, notice: Notice) -> None:
    """Undo `watch` exactly."""
    with _lock:
        front = _fronts[cls, method]
        front.notices = tuple(other for other in front.notices if other != notice)
        _leave((cls, method))


def handlers(instance: object, method: str) -> tuple[Handler, ...]:
    """Return the handlers in front of `instance.method`, first armed first."""
    front = _fronts.get((type(instance), method))
    return front.handlers.get(instance, ()) if front is not None else ()


def is_armed(instance: object, method: str) -> bool:
    """Return whether a handler stands in front of `instance.method`."""
    return bool(handlers(instance, method))


def _front(cls: type, method: str) -> _Front:
    if (cls, method) not in _fronts:
        _fronts[cls, method] = _Front()
        _install(cls, method, _fronts[cls, method])
    return _fronts[cls, method]


def _leave(key: tuple[type, str]) -> None:
    front = _fronts[key]
    if not front.handlers and not front.notices:
        del _fronts[key]
        _uninstall(*key)


def _install(cls: type, method: str, front: _Front) -> None:
    own = cls.__dict__.get(method)

    @functools.wraps(getattr(cls, method))
    def dispatch(self: Any, *args: Any, **kwargs: Any) -> Any:
        call = (
            own.__get__(self, type(self)) if own is not None else getattr(super(cls, self), method)
        )
        if type(self) is not cls:
            return call(*args, **kwargs)
        found = front.handlers.get(self, ())
        for handler in found:
            call = functools.partial(handler, call)
        if not found:
            for notice in front.notices:
                notice(self)
        return call(*args, **kwargs)

    dispatch.__zcache_own__ = own  # type: ignore[attr-defined]
    setattr(cls, method, dispatch)


def _uninstall(cls: type, method: str) -> None:
    own = cls.__dict__[method].__zcache_own__
    if own is None:
        delattr(cls, method)
    else:
        setattr(cls, method, own)
