"""Server-sent events: how one is written, and the answer that carries them.

Silence is filled with comments, so that proxies keep the line and a client that is gone is noticed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

MEDIA_TYPE = "text/event-stream"
KEEPALIVE = b": still here\n\n"
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def event(data: str, *, name: str | None = None, id_: str | None = None) -> bytes:
    """One event; `data` is one line of JSON."""
    lines = [f"id: {id_}"] if id_ is not None else []
    lines += [f"event: {name}"] if name else []
    return "\n".join((*lines, f"data: {data}", "", "")).encode()


class EventStream(StreamingResponse):
    """An answer without end.  When the client goes away, its source is closed at once and not when memory is tidied."""

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        super().__init__(events, media_type=MEDIA_TYPE, headers=_HEADERS)
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the events end or the client goes away."""
        async with aclosing(self._events):
            await super().__call__(scope, receive, send)
