"""The framing of a segment file.  Open on purpose: anybody can read logs without Lattice.

A segment is a sequence of frames, each a block of log lines as it came from a node:

    magic        4 bytes   `LLB1`
    header size  4 bytes   little-endian, as all numbers here
    body size    4 bytes
    header check 4 bytes   CRC-32 of both sizes, the body check and the header
    body check   4 bytes   CRC-32 of the body
    header       JSON      a `FrameHeader`: whose lines, which numbers, from when to when
    body         zstd      the Engine's own records, one JSON object per line (`lattice/log_records.py`)

A header that checks out tells where the next frame begins, so an index is built without reading bodies.  Where one does not, the next
intact header is looked for: damage costs the frames that it touches and no others.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from zlib import crc32

Buffer = bytes | mmap.mmap

MAGIC = b"LLB1"
_PREFIX = struct.Struct("<4sIIII")
_CHECKED = struct.Struct("<III")


@dataclass(frozen=True, slots=True)
class Frame:
    """Where an intact frame lies, and its header."""

    offset: int
    header: bytes
    body_offset: int
    body_size: int
    body_check: int

    @property
    def end(self) -> int:
        """Where the next frame begins."""
        return self.body_offset + self.body_size


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that are no intact frame."""

    offset: int
    size: int


def encode(header: bytes, body: bytes) -> bytes:
    """One frame."""
    body_check = crc32(body)
    header_check = _header_check(len(header), len(body), body_check, header)
    return _PREFIX.pack(MAGIC, len(header), len(body), header_check, body_check) + header + body


def body_offset(header: bytes) -> int:
    """Where the body begins, counted from the beginning of its frame."""
    return _PREFIX.size + len(header)


def scan(buffer: Buffer, *, verify_bodies: bool) -> Iterator[Frame | Damage]:
    """Everything in a segment, in order.  Bodies are verified where they may have been torn; else only when they are read."""
    position = 0
    while position < len(buffer):
        frame = frame_at(buffer, position)
        if frame is None:
            resumed = _next_frame(buffer, position + 1)
            yield Damage(position, resumed - position)
            position = resumed
            continue
        if verify_bodies and crc32(buffer[frame.body_offset : frame.end]) != frame.body_check:
            yield Damage(position, frame.end - position)
        else:
            yield frame
        position = frame.end


def frame_at(buffer: Buffer, offset: int) -> Frame | None:
    """The frame that begins here, if its header is intact and its body complete."""
    start = offset + _PREFIX.size
    if start > len(buffer):
        return None
    magic, header_size, body_size, header_check, body_check = _PREFIX.unpack(buffer[offset:start])
    if magic != MAGIC or start + header_size + body_size > len(buffer):
        return None
    header = bytes(buffer[start : start + header_size])
    if _header_check(header_size, body_size, body_check, header) != header_check:
        return None
    return Frame(offset, header, start + header_size, body_size, body_check)


def _next_frame(buffer: Buffer, position: int) -> int:
    while (position := buffer.find(MAGIC, position)) != -1:
        if frame_at(buffer, position) is not None:
            return position
        position += 1
    return len(buffer)


def _header_check(header_size: int, body_size: int, body_check: int, header: bytes) -> int:
    return crc32(header, crc32(_CHECKED.pack(header_size, body_size, body_check)))
