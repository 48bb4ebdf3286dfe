"""How chunks lie in a file of the spool.  Pure.

    magic        4 bytes   `LSP1`
    header size  4 bytes   little-endian, as all numbers here
    body size    4 bytes
    header check 4 bytes   CRC-32 of both sizes, the body check and the header
    body check   4 bytes   CRC-32 of the body
    header       JSON      a `SpoolHeader`
    body         zstd      the Engine's own records; none for a gap

Behind what is damaged the next intact header is looked for, so damage costs the frames that it touches and no others.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from zlib import crc32

from agent.log_place import LogPosition
from lattice.contracts.messages import LogBlock
from lattice.contracts.nouns import Noun

MAGIC = b"LSP1"
PREFIX = struct.Struct("<4sIIII")
_CHECKED = struct.Struct("<III")
# What lies in a header must not make us read a gigabyte.
_LARGEST_HEADER = 64 * 1024
_LOOK_BYTES = 64 * 1024

Read = Callable[[int, int], bytes]
"""So many bytes from there, or fewer at the end."""


class SpoolHeader(Noun):
    """Whose records, which, and where their log was read up to."""

    block: LogBlock
    size_bytes: int
    position: LogPosition


@dataclass(frozen=True, slots=True)
class Frame:
    """An intact header and where its body lies."""

    offset: int
    header: bytes
    body_offset: int
    body_size: int
    body_check: int

    @property
    def end(self) -> int:
        return self.body_offset + self.body_size

    def is_intact(self, body: bytes) -> bool:
        return len(body) == self.body_size and crc32(body) == self.body_check


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that are no frame."""

    offset: int
    end: int


def encode(header: SpoolHeader, body: bytes) -> bytes:
    """One frame."""
    text = header.model_dump_json(exclude_defaults=True).encode()
    body_check = crc32(body)
    check = _header_check(len(text), len(body), body_check, text)
    return PREFIX.pack(MAGIC, len(text), len(body), check, body_check) + text + body


def scan(read: Read, size: int, offset: int = 0, *, verify_bodies: bool = False) -> Iterator[Frame | Damage]:
    """Everything from there on, in order."""
    while offset < size:
        frame = frame_at(read, offset, size)
        if frame is None:
            end = _next_frame(read, offset + 1, size)
            yield Damage(offset, end)
            offset = end
            continue
        if verify_bodies and not frame.is_intact(read(frame.body_offset, frame.body_size)):
            yield Damage(offset, frame.end)
        else:
            yield frame
        offset = frame.end


def frame_at(read: Read, offset: int, size: int) -> Frame | None:
    """The frame that begins here, if its header is intact and its body is there."""
    prefix = read(offset, PREFIX.size)
    if len(prefix) < PREFIX.size:
        return None
    magic, header_size, body_size, header_check, body_check = PREFIX.unpack(prefix)
    start = offset + PREFIX.size
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
