"""Server-sent events: how one is written, and the answer that carries them.

Silence is filled with comments, so that proxies keep the line and a client that is gone is noticed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.responses import StreamingResponse

MEDIA_TYPE = "text/event-stream"
KEEPALIVE = b": still here\n\n"
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def event(data: str, *, name: str | None = None, id_: str | None = None) -> bytes:
    """One event; `data` is one line of JSON."""
    lines = [f"id: {id_}"] if id_ is not None else []
    lines += [f"event: {name}"] if name else []
    return "\n".join((*lines, f"data: {data}", "", "")).encode()


def stream(events: AsyncIterator[bytes], *, media_type: str = MEDIA_TYPE) -> StreamingResponse:
    """An answer without end; the iterator is closed when the client goes away."""
    return StreamingResponse(events, media_type=media_type, headers=_HEADERS)
