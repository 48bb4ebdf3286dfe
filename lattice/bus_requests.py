"""Requests and their replies over one private inbox.

nats-py has the same, but its requests wait for their full timeout when the connection ends under them; these fail at once, because the
reply went to a connection that is no more.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from dataclasses import dataclass
from typing import Any

from nats.aio.msg import Msg

from lattice.bus_link import Link
from lattice.errors import DeadlineExceeded, Temporary

_NO_RESPONDERS = "503"


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    payload: bytes
    headers: dict[str, str]

    @property
    def status(self) -> str:
        """A status of the server's own, such as 404; empty for a reply proper."""
        return self.headers.get("Status", "")


class Requests:
    """Sends requests and hands each reply to whoever asked."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._prefix = f"{link.inbox}.{secrets.token_hex(6)}"
        self._waiting: dict[str, asyncio.Future[Reply]] = {}
        self._numbers = itertools.count()
        link.on_down.append(self._fail_all)

    async def start(self) -> None:
        await self._link.subscribe(f"{self._prefix}.*", self._deliver)

    async def ask(
        self, subject: str, payload: bytes = b"", *, headers: dict[str, str] | None = None, timeout_s: float
    ) -> Reply:
        """The reply.  Raises DeadlineExceeded, or Temporary when nobody answers or the link breaks."""
        number = str(next(self._numbers))
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            async with asyncio.timeout(timeout_s):
                await self._link.send(subject, payload, reply=f"{self._prefix}.{number}", headers=headers)
                reply = await future
        except TimeoutError:
            raise DeadlineExceeded(f"No reply on {subject} in {timeout_s:g} s.") from None
        finally:
            del self._waiting[number]
        if reply.status == _NO_RESPONDERS and not reply.payload:
            raise Temporary(f"Nobody answers {subject} right now: try again shortly.")
        return reply

    async def _deliver(self, msg: Msg) -> None:
        future = self._waiting.get(msg.subject.rpartition(".")[2])
        if future is not None and not future.done():
            future.set_result(Reply(msg.data, headers_of(msg)))

    def _fail_all(self) -> None:
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(Temporary("The link to NATS broke before the reply came: try again."))


def headers_of(msg: Msg) -> dict[str, str]:
    """The headers of a message as plain text."""
    found: dict[Any, Any] = msg.headers or {}
    return {str(getattr(name, "value", name)): str(value) for name, value in found.items()}
