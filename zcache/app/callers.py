"""Runs that programs ask for: each has a name to stop it by, and is stopped when nobody waits for it any more.

The page has Stop and tells when it is left. A program that cancels its job, or dies, only ends its event in
gradio's queue; the thread that runs would go on to the end, on the only device.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import gradio as gr
from gradio.context import LocalContext

from . import device

KEPT = 256  # events that ended, of which a thread may only now begin

_ended: deque[str] = deque(maxlen=KEPT)


def begin() -> str:
    """Return the name to stop this call's run by, after announcing it; "" outside of gradio's queue."""
    event = LocalContext.event_id.get(None)
    if event is None:
        return ""
    run = _name(event)
    device.announce(run)
    if event in _ended:  # while its thread was on the way
        device.stop(run)
    return run


def follow(demo: gr.Blocks) -> None:
    """Stop the run of an event that gradio's queue gives up: cancelled, or of a client that went away."""
    queue = demo._queue
    process_events, clean_events = queue.process_events, queue.clean_events

    async def followed(events: list[Any], *given: Any, **named: Any) -> None:
        try:
            await process_events(events, *given, **named)
        finally:  # after a run that came to its end there is nothing to stop
            for event in events:
                _give_up(event._id)

    async def cleaned(**whose: Any) -> None:
        await clean_events(**whose)
        for event in (event for job in queue.active_jobs for event in job or ()):
            if not event.alive:
                _give_up(event._id)

    queue.process_events = followed  # type: ignore[method-assign]
    queue.clean_events = cleaned  # type: ignore[method-assign]


def _give_up(event: str) -> None:
    _ended.append(event)
    device.stop(_name(event))


def _name(event: str) -> str:
    """Return the name of an event's run; without a slash, so that no session's prefix is that of another's."""
    return f"event {event}"
