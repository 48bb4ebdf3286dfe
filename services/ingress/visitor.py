"""A visitor's connection: requests in, answers out, one after the other."""

from __future__ import annotations

import asyncio
from typing import NoReturn

import h11

from lattice.tunnel_stream import break_off
from services.ingress.pages import Page

LARGEST_HEAD_BYTES = 32 * 2**10
_READ_BYTES = 2**16
_LINGER_S = 1.0


class VisitorGone(Exception):
    """The visitor closed the connection, or it broke."""


class Visitor:
    """One connection; `peer` is where it comes from, `scheme` whether it came over TLS."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, write_timeout_s: float
    ) -> None:
        self._reader, self._writer, self._write_timeout_s = reader, writer, write_timeout_s
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=LARGEST_HEAD_BYTES)
        peer = writer.get_extra_info("peername")
        self.peer = str(peer[0]) if peer else "unknown"
        self.scheme = "http" if writer.get_extra_info("ssl_object") is None else "https"
        self._wants_head_only = False
        self.is_silent = True
        """Whether nothing came yet of the request that is waited for."""

    async def next_event(self, *, timeout_s: float) -> h11.Event | type[h11.PAUSED]:
        """The next part of a request.  Raises TimeoutError, VisitorGone, h11.RemoteProtocolError."""
        async with asyncio.timeout(timeout_s):
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(await self._read())
        if isinstance(event, h11.ConnectionClosed):
            raise VisitorGone
        if isinstance(event, h11.Request):
            self._wants_head_only = event.method == b"HEAD"
        return event  # type: ignore[return-value]  # NEED_DATA is out of the question here

    async def read_raw(self) -> bytes:
        """Bytes as they come, after an upgrade."""
        return await self._read()

    async def until_gone(self) -> NoReturn:
        """Wait until the visitor closes the connection; what comes meanwhile is the next request's, and kept.  Raises VisitorGone."""
        kept_bytes = 0
        while kept_bytes < LARGEST_HEAD_BYTES:
            data = await self._read()
            if not data:
                raise VisitorGone
            self._http.receive_data(data)
            kept_bytes += len(data)
        await asyncio.Event().wait()  # whoever sends so much ahead is read on when it is their turn
        raise VisitorGone

    def trailing(self) -> bytes:
        """What came after the head of a request that was upgraded."""
        return bytes(self._http.trailing_data[0])

    async def go_on_if_it_waits(self) -> None:
        """Tell a visitor that asked whether to send its body that it may."""
        if self._http.they_are_waiting_for_100_continue:
            await self.send(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue"))

    async def send(self, event: h11.Event) -> None:
        """Send a part of an answer, and wait while the visitor cannot take more.  Raises VisitorGone."""
        data = self._http.send(event)
        if data:
            await self.write(data)

    async def write(self, data: bytes) -> None:
        """Send bytes.  Raises VisitorGone."""
        if self._writer.is_closing():
            raise VisitorGone
        try:
            self._writer.write(data)
            async with asyncio.timeout(self._write_timeout_s):  # whoever does not read holds memory of ours
                await self._writer.drain()
        except (OSError, TimeoutError) as error:
            raise VisitorGone from error

    def end(self) -> None:
        """No more will be sent."""
        if self._writer.can_write_eof() and not self._writer.is_closing():
            self._writer.write_eof()

    @property
    def is_answered(self) -> bool:
        """Whether they have seen the begin of an answer, so that no other can be shown."""
        return self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE)

    @property
    def would_take_a_part_for_the_whole(self) -> bool:
        """Whether the end of the connection is all that they see of the end of an answer, as over HTTP/1.0."""
        return self.is_answered and self._http.their_http_version == b"1.0"

    def break_off(self) -> None:
        """End the connection so that they see it broken, and not as the end of all there was to say."""
        break_off(self._writer.transport)  # type: ignore[arg-type]  # typed as if it could not be read from

    async def show(self, page: Page) -> None:
        """Answer with a page of our own; the connection ends with it, because what is left of the request is not read."""
        if self.is_answered:
            return
        headers = [
            ("content-type", "text/html; charset=utf-8"),
            ("content-length", str(len(page.body))),
            ("cache-control", "no-store"),
            ("connection", "close"),
            *page.headers,
        ]
        await self.send(h11.Response(status_code=page.status, headers=headers))
        if not self._wants_head_only:
            await self.send(h11.Data(data=page.body))
        await self.send(h11.EndOfMessage())

    def may_ask_again(self) -> bool:
        """Whether another request may come on this connection; it is made ready for that."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        self.is_silent = not self._http.trailing_data[0]
        return True

    async def _read(self) -> bytes:
        try:
            data = await self._reader.read(_READ_BYTES)
        except OSError as error:
            raise VisitorGone from error
        self.is_silent = False
        return data

    @property
    def _waits_for_the_visitor(self) -> bool:
        """TLS cannot end one direction alone: whoever has asked all they wanted would wait for an end that we do not send."""
        return self._writer.can_write_eof() or self._http.their_state in (h11.SEND_BODY, h11.ERROR)

    async def close(self) -> None:
        """End the connection once what was sent has arrived.

        A connection that is closed with something unread is reset, and the visitor loses an answer that they have not read yet: so what still comes
        is read away for a moment.
        """
        try:
            self.end()
            if self._waits_for_the_visitor:
                async with asyncio.timeout(_LINGER_S):
                    while await self._reader.read(_READ_BYTES):
                        pass
        except (OSError, TimeoutError):
            pass
        self._writer.close()
        try:
            async with asyncio.timeout(5):
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            self._writer.transport.abort()
