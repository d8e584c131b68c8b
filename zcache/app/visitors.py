"""Who asks, and how much one visitor may ask for: few runs at once and few that wait, and not too many in
a while."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address, ip_address, ip_network
from types import SimpleNamespace
from typing import Any

import gradio as gr

from ..models.request import RequestError
from .guard import behind_proxy

AT_ONCE = 4  # runs of one visitor
WAITING = 6  # calls of one visitor in the queue, which holds 20
STARTS, WHILE = 60, 300  # runs one visitor may start in so many seconds

_lock = threading.Lock()
_running: Counter[str] = Counter()
_started: defaultdict[str, deque[float]] = defaultdict(deque)


def visitor(request: gr.Request) -> str:
    """Return who asks: the public address nearest to this machine, or without one the session.

    A Space sees only the address of the platform's proxies; elsewhere `x-forwarded-for` is believed
    only with ZCACHE_BEHIND_PROXY=1. One IPv6 visitor has a /64 of addresses, so these are one. Each
    proxy adds whom it spoke to at the end of the header; what stands before the first public address
    from there is hearsay.
    """
    forwarded = request.headers.get("x-forwarded-for", "") if behind_proxy() else ""
    hops = [*forwarded.split(","), _peer(request)]
    public = (hop for hop in map(str.strip, reversed(hops)) if _is_public(hop))
    nearest = next(public, "")
    return _network(nearest) if nearest else str(request.session_hash)


def share_queue(demo: gr.Blocks) -> None:
    """Refuse to queue a call of a visitor who has `WAITING` there already."""
    queue = demo._queue
    push = queue.push

    async def shared(body: Any, request: Any, username: str | None) -> Any:
        asks = _caller(request, body.session_hash)
        lists = [one.queue for one in queue.event_queue_per_concurrency_id.values()]
        waiting = sum(
            _caller(event.request, event.session_hash) == asks for one in lists for event in one
        )
        if waiting >= WAITING:
            said = f"You have {WAITING} runs waiting, the most that one visitor may have: wait for one to end."
            return False, said, "queue_full"
        return await push(body, request, username)

    queue.push = shared  # type: ignore[method-assign]


def _caller(request: Any, session: str | None) -> str:
    """Return who sent a request of gradio's queue."""
    return visitor(
        SimpleNamespace(headers=request.headers, client=request.client, session_hash=session)  # type: ignore[arg-type]
    )


@contextmanager
def admitted(visitor: str) -> Iterator[None]:
    """Count a run of a visitor while it lasts; raises RequestError if there are too many."""
    with _lock:
        _check(visitor, time.monotonic())
        _running[visitor] += 1
    try:
        yield
    finally:
        with _lock:
            _running[visitor] -= 1
            if not _running[visitor]:
                del _running[visitor]


def _check(visitor: str, now: float) -> None:
    """Note the start of a run, or refuse it; runs of nobody, as in a script, are not counted."""
    for known in list(_started):
        starts = _started[known]
        while starts and starts[0] <= now - WHILE:
            starts.popleft()
        if not starts:
            del _started[known]
    if not visitor:
        return
    if _running[visitor] >= AT_ONCE:
        raise RequestError(
            f"you have {AT_ONCE} runs in progress, the most that one visitor may have: "
            "wait for one to end, or stop it"
        )
    if len(_started[visitor]) >= STARTS:
        wait = _started[visitor][0] + WHILE - now
        raise RequestError(
            f"you have started {STARTS} runs in {WHILE // 60} minutes, the most that one visitor "
            f"may start: try again in {wait:.0f} seconds"
        )
    _started[visitor].append(now)


def _peer(request: gr.Request) -> str:
    return request.client.host if request.client else ""


def _network(host: str) -> str:
    """Return an address, of IPv6 its /64."""
    address = ip_address(host)
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or ip_network((int(address), 64), strict=False))
    return host


def _is_public(host: str) -> bool:
    try:
        return ip_address(host).is_global
    except ValueError:
        return False
