"""A tunnel's stream for code that reads and writes by itself, where no local connection is spliced to it.

    pipe = TunnelPipe(link.open(request))
    await pipe.write(b"GET / …"); data = await pipe.read()

It buffers at most what the stream's window lets through, and stops the other side beyond that.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from lattice.errors import Temporary
from lattice.tunnel_stream import TunnelStream


class TunnelPipe(asyncio.Transport):
    """Reads what the other side sends, as the local end of its stream."""

    def __init__(self, stream: TunnelStream) -> None:
        super().__init__()
        self._stream = stream
        self._pieces: deque[bytes] = deque()
        self._ended, self._reason = False, ""
        self.on_given_up: Callable[[str], None] = lambda _: None
        """Told the reason when the other side gave it up, also while nobody reads."""
        self._news, self._may_write = asyncio.Event(), asyncio.Event()
        self._may_write.set()
        stream.on_reset = self._reset
        stream.join(self)
        stream.hold()  # until somebody reads: before that nothing is granted beyond the first window

    # ------------------------------------------------------------------------------------ for whoever reads and writes

    @property
    def was_refused(self) -> bool:
        """Whether nothing of what was sent has reached anybody."""
        return self._stream.was_refused

    async def read(self) -> bytes:
        """What came next; b"" at the end.  Raises Temporary, with the reason, where the other side gave the stream up."""
        while not self._pieces:
            if self._reason:
                raise Temporary(self._reason)
            if self._ended:
                return b""
            self._stream.release()  # all that came is read: more may come
            self._news.clear()
            await self._news.wait()
        self._stream.hold()
        return self._pieces.popleft()

    async def send(self, data: bytes) -> None:
        """Send, and wait while the other side cannot take more.  Raises Temporary where it gave the stream up."""
        if self._reason:
            raise Temporary(self._reason)
        self._stream.send(data)
        await self._may_write.wait()

    def end(self) -> None:
        """No more will be sent; the other direction goes on."""
        self._stream.send_end()

    def give_up(self, reason: str) -> None:
        """End both directions now; fine if they are over."""
        self._stream.reset(reason)

    def _reset(self, reason: str) -> None:
        self._reason = reason
        self._wake()
        self.on_given_up(reason)

    def _wake(self) -> None:
        self._news.set()
        self._may_write.set()

    # ------------------------------------------------------------------------------------ what the stream calls

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._pieces.append(bytes(data))
        self._news.set()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._ended = True
        self._news.set()

    def pause_reading(self) -> None:
        self._may_write.clear()

    def resume_reading(self) -> None:
        self._may_write.set()

    def close(self) -> None:
        self._ended = True
        self._wake()

    def abort(self) -> None:
        self._reason = self._reason or "the connection was closed"
        self._wake()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


async def splice(one: TunnelStream, other: TunnelStream) -> None:
    """Pass on what comes from either stream to the other, until both directions have ended or one of the two is given up."""
    here, there = TunnelPipe(one), TunnelPipe(other)
    here.on_given_up, there.on_given_up = there.give_up, here.give_up
    try:
        await asyncio.gather(_pump(here, there), _pump(there, here))
    finally:
        here.give_up("the connection is over")
        there.give_up("the connection is over")


async def _pump(source: TunnelPipe, sink: TunnelPipe) -> None:
    try:
        while data := await source.read():
            await sink.send(data)
        sink.end()
    except Temporary as error:
        source.give_up(error.detail)
        sink.give_up(error.detail)
