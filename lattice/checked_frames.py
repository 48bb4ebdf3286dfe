"""Files of frames with checks: a node's spool, and the segments of the log store.  Open on purpose: anybody can read logs without Lattice.

    magic        4 bytes   `LLB1`
    header size  4 bytes   little-endian, as all numbers here
    body size    4 bytes
    header check 4 bytes   CRC-32 of both sizes, the body check and the header
    body check   4 bytes   CRC-32 of the body
    header       JSON      whose records, which numbers, from when to when
    body         zstd      the Engine's own records, one JSON object per line (`log_records`); none for a gap

A header that checks out tells where the next frame begins, so an index is built without reading bodies.  Where one does not, the next
intact header is looked for: damage costs the frames that it touches and no others.  Pure.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from zlib import crc32

Buffer = bytes | mmap.mmap
Read = Callable[[int, int], bytes]
"""So many bytes from there, or fewer at the end."""

MAGIC = b"LLB1"
_PREFIX = struct.Struct("<4sIIII")
_CHECKED = struct.Struct("<III")
# What lies in a header must not make us read a gigabyte.
_LARGEST_HEADER = 64 * 1024
_LOOK_BYTES = 64 * 1024


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

    def is_intact(self, body: bytes) -> bool:
        """Whether this is the body that was written."""
        return len(body) == self.body_size and crc32(body) == self.body_check


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that are no intact frame."""

    offset: int
    size: int

    @property
    def end(self) -> int:
        """Where it is over."""
        return self.offset + self.size


def encode(header: bytes, body: bytes) -> bytes:
    """One frame."""
    body_check = crc32(body)
    header_check = _header_check(len(header), len(body), body_check, header)
    return _PREFIX.pack(MAGIC, len(header), len(body), header_check, body_check) + header + body


def body_offset(header: bytes) -> int:
    """Where the body begins, counted from the beginning of its frame."""
    return _PREFIX.size + len(header)


def from_buffer(buffer: Buffer) -> Read:
    """Reads what is in memory, or mapped into it."""
    return lambda offset, size: bytes(buffer[offset : offset + size])


def scan(read: Read, size: int, offset: int = 0, *, verify_bodies: bool = False) -> Iterator[Frame | Damage]:
    """Everything from there on, in order.  Bodies are verified where they may have been torn; else only when they are read."""
    while offset < size:
        frame = frame_at(read, offset, size)
        if frame is None:
            resumed = _next_frame(read, offset + 1, size)
            yield Damage(offset, resumed - offset)
            offset = resumed
            continue
        if verify_bodies and not frame.is_intact(read(frame.body_offset, frame.body_size)):
            yield Damage(offset, frame.end - offset)
        else:
            yield frame
        offset = frame.end


def frame_at(read: Read, offset: int, size: int) -> Frame | None:
    """The frame that begins here, if its header is intact and its body is there."""
    prefix = read(offset, _PREFIX.size)
    if len(prefix) < _PREFIX.size:
        return None
    magic, header_size, body_size, header_check, body_check = _PREFIX.unpack(prefix)
    start = offset + _PREFIX.size
    if magic != MAGIC or header_size > _LARGEST_HEADER or start + header_size + body_size > size:
        return None
    header = read(start, header_size)
    if _header_check(header_size, body_size, body_check, header) != header_check:
        return None
    return Frame(offset, header, start + header_size, body_size, body_check)


def _next_frame(read: Read, offset: int, size: int) -> int:
    while offset < size:
        found = read(offset, _LOOK_BYTES).find(MAGIC)
        if found == -1:
            offset += _LOOK_BYTES - len(MAGIC) + 1
            continue
        offset += found
        if frame_at(read, offset, size) is not None:
            return offset
        offset += 1
    return size


def _header_check(header_size: int, body_size: int, body_check: int, header: bytes) -> int:
    return crc32(header, crc32(_CHECKED.pack(header_size, body_size, body_check)))
