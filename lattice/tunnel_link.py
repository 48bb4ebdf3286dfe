"""One connection of a tunnel, and the streams in it.

    link = TunnelLink(accept=dial)                   # on both sides, as the protocol of a TLS connection
    stream = link.open(request)                      # a stream to the other side, which `accept`s it
    stream.join(protocol)                            # …spliced to a local connection

What streams have to say is written once per turn of the loop, so that many small answers share a TLS record.  A stream may be ahead of its reader
by its window only, and a connection that does not take more stops the reading of whatever feeds it: no buffer grows without bound.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from loguru import logger

from lattice.errors import Invalid, Temporary
from lattice.tunnel_frames import LAST_STREAM, FrameKind, FrameReader, Piece, data_head, frame
from lattice.tunnel_stream import HIGH_WATER_BYTES, TunnelStream

# Above this two buffers are written one after the other, below they are joined into one record.
_READ_BYTES = 2**18
_JOINED_BYTES = 2**15

_DIAL_TIMEOUT_S = 5.0

Accept = Callable[["TunnelStream", bytes], None]


Told = Callable[["TunnelLink"], None]
Greeted = Callable[["TunnelLink", bytes], None]


def _nobody(_: TunnelLink) -> None:
    """Where nobody is to be told."""


def _not_greeted(_: TunnelLink, __: bytes) -> None:
    """Where nobody is expected to say who they are."""


@dataclass(slots=True)
class Traffic:
    """What went through connections, frames included; several of them may share one."""

    sent_bytes: int = 0
    received_bytes: int = 0


class TunnelLink(asyncio.BufferedProtocol):
    """A connection full of streams.  Both sides may open some: their numbers are even where `dials` is true, odd where it is not.

    `opened` is told when the connection stands, TLS included, and `closed` when it is gone: one that failed before is in nobody's way.
    `greeted` is told what the other side says of itself.  What goes through is added to `traffic`.
    """

    def __init__(
        self,
        accept: Accept,
        *,
        dials: bool,
        opened: Told = _nobody,
        closed: Told = _nobody,
        greeted: Greeted = _not_greeted,
        traffic: Traffic | None = None,
    ) -> None:
        self._traffic = traffic or Traffic()
        self._accept, self._opened, self._closed, self._greeted = accept, opened, closed, greeted
        self._reader = FrameReader(self)
        self._streams: dict[int, TunnelStream] = {}
        self._first = self._next = 2 if dials else 1
        self._buffer = memoryview(b"")
        self._out: list[Piece] = []
        self._out_bytes = 0
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self.is_full = False
        self.heard_at = self._loop.time()

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    @property
    def is_open(self) -> bool:
        """Whether the connection is made and not closing."""
        return self._transport is not None and not self._transport.is_closing()

    def open(self, request: bytes) -> TunnelStream:
        """A new stream to the other side, which is told `request` (at most 4 KiB).  Raises Temporary if the link is gone."""
        if not self.is_open:
            raise Temporary("the tunnel's connection is gone")
        stream_id = self._next = self._unused(self._next)
        stream = self._streams[stream_id] = TunnelStream(self, stream_id)
        self.send(FrameKind.OPEN, stream_id, request)
        self._next += 2
        return stream

    def _unused(self, stream_id: int) -> int:
        """This number, or the next one of ours that no open stream has.

        After two thousand million streams they begin anew.  That is so long after the former stream with the number that no frame of it can still be
        on the way.
        """
        while stream_id > LAST_STREAM or stream_id in self._streams:
            stream_id = self._first if stream_id > LAST_STREAM else stream_id + 2
        return stream_id

    def greet(self, words: bytes) -> None:
        """Say who we are."""
        self.send(FrameKind.HELLO, 0, words)

    def peer_certificate(self) -> bytes | None:
        """The certificate that the other side proved itself with (DER), where one was asked for."""
        secured = self._transport.get_extra_info("ssl_object") if self._transport is not None else None
        return None if secured is None else secured.getpeercert(binary_form=True)

    def ping(self) -> None:
        """Ask the other side for a sign of life: `heard_at` rises when it comes."""
        self.send(FrameKind.PING, 0)

    def close(self) -> None:
        """End the connection and all its streams."""
        if self._transport is not None:
            self._transport.abort()

    # ------------------------------------------------------------------------------------ what streams use

    def send(self, kind: FrameKind, stream_id: int, payload: bytes = b"") -> None:
        """Say something of a stream, with whatever else is said in this turn of the loop."""
        self._write(frame(kind, stream_id, payload))

    def send_data(self, stream_id: int, data: bytes) -> bool:
        """Send data; False when the stream has to wait until `go_on` is called."""
        self._out.append(data_head(stream_id, len(data)))
        self._write(data)
        return not self.is_full

    def forget(self, stream_id: int) -> bool:
        """Whether the stream was not over yet; now it is."""
        return self._streams.pop(stream_id, None) is not None

    def _write(self, piece: Piece) -> None:
        if not self._out_bytes:
            self._loop.call_soon(self._flush)
        self._out.append(piece)
        self._out_bytes += len(piece)

    def _flush(self) -> None:
        out, size = self._out, self._out_bytes
        self._out, self._out_bytes = [], 0
        if self._transport is None:
            return
        self._traffic.sent_bytes += size
        if size <= _JOINED_BYTES:
            self._transport.write(b"".join(out))
        else:
            self._transport.writelines(out)

    # ------------------------------------------------------------------------------------ the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._buffer = memoryview(
            bytearray(_READ_BYTES)
        )  # not before: a stranger who only dials costs little
        transport.set_write_buffer_limits(HIGH_WATER_BYTES)  # type: ignore[attr-defined]
        self._opened(self)

    def get_buffer(self, size_hint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, size: int) -> None:
        self.heard_at = self._loop.time()
        self._traffic.received_bytes += size
        try:
            self._reader.feed(self._buffer[:size])
        except Invalid as error:
            logger.warning("a tunnel's connection is cut off: {}", error)
            self.close()

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        for stream in [*self._streams.values()]:  # also those that got their credit while we were full
            stream.go_on()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream.gone("the tunnel's connection is gone")
        self._closed(self)

    # ------------------------------------------------------------------------------------ what the other side says

    def data_came(self, stream_id: int, piece: Piece) -> None:
        """Data for a stream; for one that is over here it is dropped: the other side learns it soon."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.data_came(piece)

    def frame_came(self, kind: FrameKind, stream_id: int, payload: bytes) -> None:
        """Anything but data."""
        if kind is FrameKind.OPEN:
            self._open_here(stream_id, payload)
        elif kind is FrameKind.HELLO:
            self._greeted(self, payload)
        elif kind is FrameKind.PING:
            if (
                not self.is_full
            ):  # else what waits to be sent is a sign of life, and whoever reads nothing fills no memory
                self.send(FrameKind.PONG, 0)
        else:
            stream = self._streams.get(stream_id)
            if stream is not None:
                stream.frame_came(kind, payload)

    def _open_here(self, stream_id: int, request: bytes) -> None:
        if stream_id in self._streams or stream_id % 2 == self._next % 2:
            raise Invalid(f"stream {stream_id} cannot be opened by the other side")
        stream = self._streams[stream_id] = TunnelStream(self, stream_id)
        self._accept(stream, request)


async def dial(link: TunnelLink, address: str, tls: ssl.SSLContext, words: bytes) -> None:
    """Connect to an ingress (`host:port`) and say who we are.  Raises OSError or TimeoutError."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(_DIAL_TIMEOUT_S):
        await loop.create_connection(lambda: link, host, int(port), ssl=tls, server_hostname=host)
    link.greet(words)
