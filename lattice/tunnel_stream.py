"""One stream of a tunnel's connection, and the local connection that it is spliced to."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from lattice.errors import Invalid
from lattice.tunnel_frames import FrameKind, Piece

# One stream fills a path of 1 Gbit/s with a round trip of 8 ms.
WINDOW_BYTES = 2**20
_GRANTED_FROM = WINDOW_BYTES // 2
HIGH_WATER_BYTES = 2**20
_CREDIT = struct.Struct("!I")
_NO_LINGER = struct.pack("ii", 1, 0)


class Carrier(Protocol):
    """What a stream needs of its connection."""

    is_full: bool

    def send(self, kind: FrameKind, stream_id: int, payload: bytes = b"") -> None:
        """Say something of a stream, with whatever else is said in this turn of the loop."""

    def send_data(self, stream_id: int, data: bytes) -> bool:
        """Send data; False when the stream has to wait until `go_on` is called."""

    def forget(self, stream_id: int) -> bool:
        """Whether the stream was not over yet; now it is."""


class TunnelStream:
    """One connection of a client, on one side of the tunnel; `join` gives it the local connection that it is spliced to."""

    __slots__ = (
        "_credit",
        "_ended_here",
        "_ended_there",
        "_held",
        "_id",
        "_is_over",
        "_link",
        "_local",
        "_owed",
        "_waiting",
        "_was_joined",
        "moves",
        "on_reset",
        "was_refused",
    )

    def __init__(self, link: Carrier, stream_id: int) -> None:
        self._link, self._id = link, stream_id
        self._local: asyncio.Transport | None = None
        self._waiting: list[Piece] = []
        self._credit, self._owed = WINDOW_BYTES, 0
        self._held = True
        self._ended_here = self._ended_there = self._is_over = self._was_joined = False
        self.moves = 0
        """How often data has moved, in either direction: whoever looks now and then sees whether anything did."""
        self.on_reset: Callable[[str], None] | None = None
        """Told the reason when the other side gave the stream up."""
        self.was_refused = False
        """Whether the other side never joined it to anything: what was sent may be sent elsewhere."""

    # ------------------------------------------------------------------------------------ the local connection

    def join(self, local: asyncio.Transport) -> None:
        """Splice the stream to a local connection, whose protocol calls the methods below."""
        if self._is_over:  # the other side gave it up while the connection was made
            break_off(local)
            return
        self._local, self._was_joined = local, True
        for piece in self._waiting:
            local.write(piece)
        self._waiting.clear()
        self.release()
        if self._ended_there:
            _end(local)

    def send(self, data: bytes) -> None:
        """Data of the local connection, which is not read on where the other side or the link cannot take more."""
        self.moves += 1
        self._credit -= len(data)
        may_go_on = self._link.send_data(self._id, data)
        if (self._credit <= 0 or not may_go_on) and self._local is not None:
            self._local.pause_reading()

    def send_end(self) -> None:
        """The local connection has ended its direction."""
        if not self._ended_here:
            self._ended_here = True
            self._link.send(FrameKind.END, self._id)
            self._finish_if_over()

    def hold(self) -> None:
        """The local connection takes no more for now."""
        self._held = True

    def release(self) -> None:
        """It takes more again."""
        self._held = False
        self._grant(at_least=1)

    def reset(self, reason: str) -> None:
        """Give the stream up, in both directions; fine if it is over."""
        if self._link.forget(self._id):
            self._link.send(FrameKind.RESET, self._id, reason.encode()[:512])
            self._close_local()

    def refuse(self, reason: str) -> None:
        """Give up a stream that was never joined, so that what the other side has sent has reached nobody."""
        if self._was_joined:
            self.reset(reason)
        elif self._link.forget(self._id):
            self._is_over = True
            self._link.send(FrameKind.REFUSE, self._id, reason.encode()[:512])

    def lost(self) -> None:
        """The local connection is gone; if the stream was not over, the other side learns it."""
        self._local = None
        self.reset("the connection was closed")

    # ------------------------------------------------------------------------------------ the other side

    def data_came(self, piece: Piece) -> None:
        """Data from the other side."""
        self.moves += 1
        self._owed += len(piece)
        if self._owed > 2 * WINDOW_BYTES:  # whoever keeps to what was granted is ahead by one read at most
            raise Invalid("more data than was granted")
        if self._local is None:
            self._waiting.append(piece)
            return
        self._local.write(piece)
        if not self._held:
            self._grant(at_least=_GRANTED_FROM)

    def frame_came(self, kind: FrameKind, payload: bytes) -> None:
        """Whatever else the other side says."""
        if kind is FrameKind.CREDIT:
            self._credit += _CREDIT.unpack(payload)[0]
            self.go_on()
        elif kind is FrameKind.END:
            self._ended_there = True
            if self._local is not None:
                _end(self._local)
            self._finish_if_over()
        elif kind in (FrameKind.RESET, FrameKind.REFUSE):
            self.was_refused = kind is FrameKind.REFUSE
            self._link.forget(self._id)
            self.gone(payload.decode(errors="replace"))

    def gone(self, reason: str) -> None:
        """The other side, or the link, is no more."""
        if self.on_reset is not None:
            self.on_reset(reason)
        self._close_local()

    def go_on(self) -> None:
        """Read the local connection on, if the other side takes more."""
        if self._credit > 0 and self._local is not None and not self._link.is_full:
            self._local.resume_reading()

    def _grant(self, *, at_least: int) -> None:
        if self._owed >= at_least and not self._ended_there:
            self._link.send(FrameKind.CREDIT, self._id, _CREDIT.pack(self._owed))
            self._owed = 0

    def _finish_if_over(self) -> None:
        if self._ended_here and self._ended_there and self._link.forget(self._id):
            local, self._local = self._local, None
            if local is not None:
                local.close()  # what is still to be written is written first

    def _close_local(self) -> None:
        self._is_over = True
        local, self._local = self._local, None
        if local is not None:
            break_off(local)


def break_off(local: asyncio.Transport) -> None:
    """End a connection so that its peer sees it broken: a plain close would look like the end of all there was to say."""
    socket_ = local.get_extra_info("socket")
    if socket_ is not None:
        with suppress(OSError, ValueError):  # it is closed already
            socket_.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    local.abort()


def _end(local: asyncio.Transport) -> None:
    if local.can_write_eof():
        local.write_eof()
    else:
        local.close()


class LocalSide(asyncio.Protocol):
    """The protocol of a local connection that is spliced to a stream."""

    __slots__ = ("stream", "transport")

    def __init__(self, stream: TunnelStream) -> None:
        self.stream = stream

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        transport.set_write_buffer_limits(HIGH_WATER_BYTES)  # type: ignore[attr-defined]
        self.stream.join(transport)  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        self.stream.send(data)

    def eof_received(self) -> bool:
        self.stream.send_end()
        return True  # the other direction goes on

    def pause_writing(self) -> None:
        self.stream.hold()

    def resume_writing(self) -> None:
        self.stream.release()

    def connection_lost(self, error: Exception | None) -> None:
        self.stream.lost()
