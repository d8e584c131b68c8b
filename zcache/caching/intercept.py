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

from ..errors import UnsupportedPipelineError

Handler = Callable[..., Any]
Notice = Callable[[Any], None]  # told of an instance that is not armed


class _ById(dict[int, Any]):
    """Values by the id of an instance, as long as it lives. By identity, since an instance need not have a hash,
    and equal ones are several; torch's own table of this kind stops its compiler."""

    def __init__(self) -> None:
        self._alive: dict[int, weakref.ref[object]] = {}

    def put(self, instance: object, value: Any) -> None:
        key = id(instance)
        self._alive[key] = weakref.ref(instance, lambda _: self.take(key))
        self[key] = value

    def take(self, key: int) -> Any:
        self._alive.pop(key, None)
        return self.pop(key, None)


class _Front:
    """What stands in front of one method of one class.

    Attributes:
        own: what the class itself had there; None where it inherits the method.
        dispatch: what it has there now, unless somebody put something else in front.
    """

    own: Any = None
    dispatch: Any = None

    def __init__(self) -> None:
        self.handlers = _ById()
        self.locks = _ById()
        self.notices: tuple[Notice, ...] = ()


_lock = threading.Lock()
_fronts: dict[tuple[type, str], _Front] = {}


def arm(instance: object, method: str, handler: Handler) -> None:
    """Let `handler(original, *args)` answer `instance.method(*args)` from now on; `original` is
    bound.

    Of several handlers the one armed last is called first, with the next as its original.

    Raises:
        UnsupportedPipelineError: the instance takes no weak reference.
    """
    try:
        weakref.ref(instance)
    except TypeError as error:
        raise UnsupportedPipelineError(
            f"{type(instance).__name__} cannot be followed ({error}); add '__weakref__' to its class's __slots__"
        ) from error
    with _lock:
        front = _front(type(instance), method)
        front.handlers.put(instance, (*front.handlers.get(id(instance), ()), handler))
        if id(instance) not in front.locks:
            front.locks.put(instance, threading.RLock())


def disarm(instance: object, method: str, handler: Handler | None = None) -> None:
    """Undo `arm` exactly: take `handler` away, or the one armed last. The instance may have got another class since
    (FSDP2 gives one)."""
    with _lock:
        key = _key(instance, method)
        kept = list(_fronts[key].handlers.take(id(instance)))
        kept.pop() if handler is None else kept.remove(handler)
        if kept:
            _fronts[key].handlers.put(instance, tuple(kept))
        else:
            _fronts[key].locks.take(id(instance))
        _leave(key)


def lock(instance: object, method: str) -> AbstractContextManager[Any]:
    """Return one lock for all who stand in front of `instance.method`; inert where nobody does."""
    key = _key(instance, method)
    found = _fronts[key].locks.get(id(instance)) if key in _fronts else None
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
    key = _key(instance, method)
    return _fronts[key].handlers.get(id(instance), ()) if key in _fronts else ()


def is_armed(instance: object, method: str) -> bool:
    """Return whether a handler stands in front of `instance.method`."""
    return bool(handlers(instance, method))


def weakly(method: Callable[..., Any], *first: Any) -> Handler:
    """Return a handler that does not keep its owner alive: a pipeline that is dropped takes its
    cache along."""
    reference = weakref.WeakMethod(method)

    def handle(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        alive = reference()
        if alive is None:
            return original(*args, **kwargs)
        return alive(*first, original, *args, **kwargs)

    handle.shares = True  # type: ignore[attr-defined]
    return handle


def _key(instance: object, method: str) -> tuple[type, str]:
    """The class in whose front an instance is armed: its own, or one that it had."""
    for cls in type(instance).__mro__[:-1]:
        if (cls, method) in _fronts and id(instance) in _fronts[cls, method].handlers:
            return cls, method
    return type(instance), method


def _front(cls: type, method: str) -> _Front:
    if (cls, method) not in _fronts:
        _fronts[cls, method] = _Front()
        _install(cls, method, _fronts[cls, method])
    return _fronts[cls, method]


def _leave(key: tuple[type, str]) -> None:
    front = _fronts[key]
    if not front.handlers and not front.notices:
        del _fronts[key]
        _uninstall(*key, front)


def _install(cls: type, method: str, front: _Front) -> None:
    own = front.own = _below(cls.__dict__.get(method))

    @functools.wraps(getattr(cls, method))
    def dispatch(self: Any, *args: Any, **kwargs: Any) -> Any:
        call = (
            own.__get__(self, type(self)) if own is not None else getattr(super(cls, self), method)
        )
        found = front.handlers.get(id(self), ())
        for handler in found:
            call = functools.partial(handler, call)
        if not found and type(self) is cls:
            for notice in front.notices:
                notice(self)
        return call(*args, **kwargs)

    dispatch.__zcache_front__ = front  # type: ignore[attr-defined]
    front.dispatch = dispatch
    setattr(cls, method, dispatch)


def _uninstall(cls: type, method: str, front: _Front) -> None:
    """Give the class its own method back, unless somebody patched it since: what is under another's patch stays,
    inert."""
    if cls.__dict__.get(method) is not front.dispatch:
        return
    if front.own is None:
        delattr(cls, method)
    else:
        setattr(cls, method, front.own)


def _below(found: Any) -> Any:
    """What is under a dispatcher that was left behind inert; a patch copies its attributes, but is not it."""
    left = getattr(found, "__zcache_front__", None)
    return left.own if left is not None and left.dispatch is found else found
