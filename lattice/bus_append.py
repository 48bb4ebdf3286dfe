"""Adding to streams: one message with its acknowledgement, many with their acknowledgements counted, and the newest of a subject.

An acknowledgement that does not come says nothing: the message may be stored all the same.  So every retry carries the same `Nats-Msg-Id`,
and the stream drops what it has already.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from lattice.bus_requests import Reply, Requests
from lattice.bus_wire import Wire
from lattice.errors import Invalid, Temporary
from lattice.messaging import Stored

APPEND_TIMEOUT_S = 5.0
_TRY_S = 2.0
_PAUSE_S = 0.1

EXPECTED_LAST = "Nats-Expected-Last-Subject-Sequence"

# Both mean that the last sequence is another than expected.
_WRONG_LAST = (10071, 10164)
_TOO_LARGE = 10054


class WrongLast(Exception):
    """The stream's last message on this subject is another one than the sender thought."""


def read_ack(reply: Reply) -> Stored:
    """What the stream said.  Raises WrongLast, Invalid for a message it will never take, Temporary for the rest."""
    return read_ack_payload(reply.payload)


def read_ack_payload(payload: bytes) -> Stored:
    try:
        said: dict[str, Any] = json.loads(payload)
    except ValueError as error:
        raise Temporary("The stream answered something that cannot be read: try again.") from error
    if "error" in said:
        raise refusal(said["error"])
    return Stored(said["stream"], said["seq"], duplicate=said.get("duplicate", False))


def refusal(error: dict[str, Any]) -> Exception:
    """The error for what JetStream answered."""
    code, text = error.get("err_code", 0), error.get("description", "unknown")
    if code in _WRONG_LAST:
        return WrongLast(text)
    if code == _TOO_LARGE:
        return Invalid(f"The stream does not take messages of this size: {text}.")
    return Temporary(f"The stream did not take it ({text}, {code}): try again.")


class Appender:
    """Adds single messages."""

    def __init__(self, requests: Requests, wait_up: Callable[[], Any]) -> None:
        self._requests, self._wait_up = requests, wait_up

    async def append(self, wire: Wire, *, timeout_s: float = APPEND_TIMEOUT_S) -> Stored:
        """Add; try again with the same id until `timeout_s` is over.  Raises Temporary, Invalid, WrongLast."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        while True:
            try:
                return await self._try(wire, min(_TRY_S, deadline_s - loop.time()))
            except Temporary as error:
                if loop.time() + _PAUSE_S >= deadline_s:
                    raise Temporary(
                        f"{wire.subject} was not acknowledged ({error}): try again with the same id."
                    ) from error
                await self._until_up(deadline_s - loop.time())

    async def _try(self, wire: Wire, timeout_s: float) -> Stored:
        reply = await self._requests.ask(
            wire.subject, wire.payload, headers=wire.headers, timeout_s=max(timeout_s, 0.001)
        )
        return read_ack(reply)

    async def _until_up(self, timeout_s: float) -> None:
        await asyncio.sleep(_PAUSE_S)
        try:
            await asyncio.wait_for(self._wait_up(), max(timeout_s, 0.0))
        except TimeoutError:
            raise Temporary("There is no link to NATS: try again when it is back.") from None
