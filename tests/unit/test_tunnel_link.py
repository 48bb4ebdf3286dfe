"""A tunnel's connection, frame by frame: what makes it wait, and what wakes it."""

from __future__ import annotations

import asyncio
import struct

from lattice.errors import Invalid
from lattice.tunnel_frames import LAST_STREAM, FrameKind, frame
from lattice.tunnel_link import TunnelLink
from lattice.tunnel_stream import WINDOW_BYTES, TunnelStream


class Wire(asyncio.Transport):
    """Takes what is written, and tells whether it is read from."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.reads, self.is_gone = bytearray(), True, False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return self.is_gone

    def abort(self) -> None:
        self.is_gone = True

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True


def refuse(_: TunnelStream, __: bytes) -> None:
    raise Invalid("no streams here")


def linked() -> tuple[TunnelLink, Wire]:
    link, wire = TunnelLink(refuse, dials=False), Wire()
    link.connection_made(wire)
    return link, wire


def hear(link: TunnelLink, said: bytes) -> None:
    link.get_buffer(-1)[: len(said)] = said
    link.buffer_updated(len(said))


async def test_credit_that_came_while_the_link_was_full_counts_once_it_is_not() -> None:
    link, _ = linked()
    stream, local = link.open(b""), Wire()
    stream.join(local)
    stream.send(b"x" * WINDOW_BYTES)
    assert not local.reads
    link.pause_writing()
    hear(link, frame(FrameKind.CREDIT, 1, struct.pack("!I", WINDOW_BYTES)))
    assert not local.reads
    link.resume_writing()
    assert local.reads


async def test_whoever_reads_nothing_is_not_answered_into_memory() -> None:
    link, wire = linked()
    link.pause_writing()
    hear(link, frame(FrameKind.PING, 0) * 1000)
    await asyncio.sleep(0)
    assert not wire.written
    link.resume_writing()
    hear(link, frame(FrameKind.PING, 0))
    await asyncio.sleep(0)
    assert wire.written == frame(FrameKind.PONG, 0)


async def test_after_the_last_number_streams_take_those_that_are_free_again() -> None:
    link, wire = linked()
    first = link.open(b"")
    link._next = LAST_STREAM - 2  # as if this had been open for years
    numbers = [link.open(b"")._id for _ in range(4)]
    assert numbers == [LAST_STREAM - 2, LAST_STREAM, 3, 5], "the first is still open"
    first.reset("over")
    link._next = LAST_STREAM + 2
    assert link.open(b"")._id == 1
    await asyncio.sleep(0)
    assert wire.written.endswith(frame(FrameKind.OPEN, 1))


async def test_a_side_that_may_open_nothing_is_cut_off_when_it_does() -> None:
    link, wire = linked()
    hear(link, frame(FrameKind.OPEN, 2, b"{}"))
    assert wire.is_gone
