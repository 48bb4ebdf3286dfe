"""The tunnel's frames: many byte streams in one connection, each of which can be ended in one direction alone.

TLS carries no half-close, so the end of a direction is a frame of its own.  A frame is a head of nine bytes (kind, stream, length) and a payload.
The payload of DATA is passed on as it arrives, whole or not, so that nothing waits for the end of a large frame; all other payloads are short.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Protocol

from lattice.errors import Invalid

HEAD = struct.Struct("!BII")
LARGEST_DATA = 2**20
LARGEST_CONTROL = 4096
LAST_STREAM = 2**32 - 1

Piece = bytes | memoryview


class FrameKind(IntEnum):
    """What a frame says of its stream."""

    OPEN = 1
    DATA = 2
    END = 3  # no more data in this direction
    RESET = 4  # the stream is over in both directions; the payload says why
    CREDIT = 5  # so many bytes more may be sent
    PING = 6
    PONG = 7
    HELLO = 8  # who dialled, once and first
    REFUSE = 9  # the stream was never joined to anything, so nothing that was sent has reached anybody; the payload says why


class FrameSink(Protocol):
    """Who takes what was read."""

    def data_came(self, stream_id: int, piece: Piece) -> None:
        """A part of a stream's data, in order."""

    def frame_came(self, kind: FrameKind, stream_id: int, payload: bytes) -> None:
        """A whole frame of any other kind."""


def frame(kind: FrameKind, stream_id: int, payload: bytes = b"") -> bytes:
    """A whole frame."""
    return HEAD.pack(kind, stream_id, len(payload)) + payload


def data_head(stream_id: int, size_bytes: int) -> bytes:
    """The head of a DATA frame; `size_bytes` of payload follow."""
    return HEAD.pack(FrameKind.DATA, stream_id, size_bytes)


class FrameReader:
    """Takes bytes in any pieces, gives frames."""

    def __init__(self, sink: FrameSink) -> None:
        self._sink = sink
        self._rest = b""  # the begin of a head, or of a control frame
        self._data_left = 0
        self._data_stream = 0

    def feed(self, received: Piece) -> None:
        """Give what these bytes complete.  Raises Invalid for what is no frame: the connection is then of no more use."""
        at, end = 0, len(received)
        if self._data_left:
            at = self._give_data(received, 0, end)
        if self._rest:
            received, at = self._rest + received, 0
            self._rest, end = b"", len(received)
        while end - at >= HEAD.size:
            kind, stream_id, size = HEAD.unpack_from(received, at)
            if kind == FrameKind.DATA:
                self._begin_data(stream_id, size)
                at = self._give_data(received, at + HEAD.size, end)
            elif end - at - HEAD.size >= _checked(kind, size):
                begin = at + HEAD.size
                at = begin + size
                self._sink.frame_came(FrameKind(kind), stream_id, bytes(received[begin:at]))
            else:
                break
        if at < end:
            self._rest = bytes(received[at:])

    def _begin_data(self, stream_id: int, size: int) -> None:
        if size > LARGEST_DATA:
            raise Invalid(f"a frame with {size} bytes of data, more than {LARGEST_DATA}")
        self._data_left, self._data_stream = size, stream_id

    def _give_data(self, received: Piece, at: int, end: int) -> int:
        until = min(end, at + self._data_left)
        size = until - at
        if size:
            self._data_left -= size
            self._sink.data_came(self._data_stream, bytes(received[at:until]))
        return until


def _checked(kind: int, size: int) -> int:
    if not FrameKind.OPEN <= kind <= FrameKind.REFUSE:
        raise Invalid(f"a frame of the unknown kind {kind}")
    if size > LARGEST_CONTROL:
        raise Invalid(f"a frame of kind {kind} with {size} bytes, more than {LARGEST_CONTROL}")
    return size
