"""Two connections on this machine, each of which is told what the other says.

Each direction ends by itself, whoever is slow stops the reading of the other, and one that breaks breaks the other.
"""

from __future__ import annotations

import asyncio

from lattice.hand_over import Undecided
from lattice.tunnel_stream import break_off


class Side(asyncio.Protocol):
    """One of the two; `other` is set before its connection has anything to say."""

    __slots__ = ("has_ended", "other", "transport")

    def __init__(self) -> None:
        self.other: Side
        self.transport: asyncio.Transport
        self.has_ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.other.transport.write(data)

    def eof_received(self) -> bool:
        self.has_ended = True
        self.other.transport.write_eof()
        if self.other.has_ended:
            self.transport.close()
            self.other.transport.close()
        return True  # the other direction goes on

    def pause_writing(self) -> None:
        self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if not self.other.has_ended:
            self.other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        if not (self.has_ended and self.other.has_ended) and not self.other.transport.is_closing():
            break_off(self.other.transport)


async def splice(caller: Undecided, host: str, port: int) -> None:
    """Let a caller go on to a port of this machine.  Raises OSError."""
    here, there = Side(), Side()
    here.other, there.other = there, here
    here.connection_made(caller.transport)
    await asyncio.get_running_loop().create_connection(lambda: there, host, port)
    if caller.transport.is_closing():
        break_off(there.transport)
    else:
        caller.go_on(here)
