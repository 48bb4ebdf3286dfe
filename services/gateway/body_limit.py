"""No body larger than the limit is read, whether its length is told or not.

The framework's own limit answers in plain text; ours raises where the body is read, so the refusal becomes a problem like all others.
"""

from __future__ import annotations

from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope


def limited(scope: Scope, receive: Receive, *, max_bytes: int) -> Receive:
    """`receive` that raises 413 in the place of what is too much."""
    told = Headers(scope=scope).get("content-length", "")
    left = -1 if told.isdecimal() and int(told) > max_bytes else max_bytes

    async def receive_some() -> Message:
        nonlocal left
        if left < 0:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        return message

    return receive_some
