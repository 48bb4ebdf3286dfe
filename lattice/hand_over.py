"""Connections whose protocol changes while they stand: taken by one that does not know yet where they lead, and given to another that does.

What the peer says in between is kept.  A protocol that pauses reading as it is connected may be told data all the same: uvloop begins to read only
after that.
"""

from __future__ import annotations

import asyncio


class Undecided(asyncio.Protocol):
    """A connection of which it is not known yet where it leads: its first words are kept, and no more are read until it goes on."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self._first_words, self._has_ended = b"", False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._first_words += data
        self.transport.pause_reading()

    def eof_received(self) -> bool:
        self._has_ended = True
        return True  # it may still be answered

    def go_on(self, protocol: asyncio.Protocol) -> None:
        """Let it go on under a protocol that is told all that was said so far."""
        hand_over(self.transport, protocol, self._first_words)
        if self._has_ended and not self.transport.is_closing():
            protocol.eof_received()


def hand_over(transport: asyncio.Transport, protocol: asyncio.Protocol, first_words: bytes) -> None:
    """Let a connection go on under another protocol, which is told what was read already."""
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    if transport.is_closing():
        return
    transport.resume_reading()
    if first_words:
        protocol.data_received(first_words)
