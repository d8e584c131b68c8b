"""What is refused before gradio sees it, and what keeps gradio's queue alive; .github/gradio.md says
why each is needed."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import gradio as gr

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PROXY_VARIABLE = "ZCACHE_BEHIND_PROXY"
CLOSED = ("/upload", "/upload_progress", "/deep_link")  # the page takes no file and keeps no state
QUEUED = ("/queue/join",)
FORWARDED = {b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-for", b"x-gradio-server"}
SESSION_LENGTH = 64  # characters; gradio's own pages use 11, its client 36
BODY_BYTES = 1_000_000


def behind_proxy() -> bool:
    """Whether `x-forwarded-*` headers are from a proxy: on a Space, or with ZCACHE_BEHIND_PROXY=1."""
    return bool(os.environ.get("SPACE_ID")) or os.environ.get(PROXY_VARIABLE) == "1"


class Guard:
    """ASGI middleware that closes uploads and deep links, refuses to queue without a session, and
    drops forwarded headers where there is no proxy."""

    def __init__(self, app: Callable[[Message, Receive, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer, or pass on, one connection."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        if not behind_proxy():
            kept = [pair for pair in scope["headers"] if pair[0].lower() not in FORWARDED]
            scope = {**scope, "headers": kept}
        path = scope["path"].rstrip("/")
        if path.endswith(CLOSED):
            return await _answer(send, 404, "this app takes no files and keeps no states")
        if scope["method"] == "POST" and path.endswith(QUEUED):
            body = await _body(receive)
            if body is None:
                return await _answer(send, 413, f"the request exceeds {BODY_BYTES} bytes")
            if not _has_session(body):
                return await _answer(
                    send, 400, f"session_hash must be text of 1 to {SESSION_LENGTH} characters"
                )
            receive = _replayed(body, receive)
        await self._app(scope, receive, send)


def keep_alive(demo: gr.Blocks) -> None:
    """Let a message to a session that is gone end its event, not the queue."""
    queue = demo._queue
    send_message = queue.send_message

    def forgiving(event: Any, event_message: Any) -> None:
        try:
            send_message(event, event_message)
        except KeyError:
            event.alive = False

    queue.send_message = forgiving  # type: ignore[method-assign]


def _has_session(body: bytes) -> bool:
    try:
        session = json.loads(body)["session_hash"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
    return isinstance(session, str) and 0 < len(session.strip()) <= SESSION_LENGTH


async def _body(receive: Receive) -> bytes | None:
    """Return the whole body; None if it is too large."""
    parts, length, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        parts.append(message.get("body", b""))
        length += len(parts[-1])
        if length > BODY_BYTES:
            return None
        more = message.get("more_body", False)
    return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _answer(send: Send, status: int, detail: str) -> None:
    body = json.dumps({"detail": detail}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        # The body may be unread: the connection cannot serve another request.
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
