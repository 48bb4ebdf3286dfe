"""Rewrites closed segments in the background, one at a time and at low priority.

The new file is whole on disk before the index knows it, and the old one stays until no query can be reading it; a start that finds both keeps the
new one.  So a kill at any point loses nothing and shows nothing twice.
"""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import zstandard
from loguru import logger

from lattice import log_records
from lattice.clock import Clock
from lattice.errors import LatticeError
from services.logs import frames, metrics, segments, word_filter
from services.logs.compaction import merged
from services.logs.index import FrameHeader, Index, Segment, StoredBlock
from services.logs.writer import Writer

# zstd-6 takes four times as long as zstd-1 and saves a twentieth; nobody waits for it here.
_LEVEL = 6
_NICENESS = 10
# Longer than any search: who reads the old file has ended by then.
_OLD_FILE_STAYS_S = 15.0

Packed = tuple[Segment, list[StoredBlock]]


@dataclass(frozen=True, slots=True)
class Closed:
    """When a segment is closed: another one follows it, or it is so old that the next block begins a new one."""

    segment_age_s: float

    def choose(self, index: Index, now_ns: int) -> Segment | None:
        """The oldest segment that is to be rewritten."""
        oldest_ns = now_ns - int(self.segment_age_s * 10**9)
        found = (
            segment
            for segment, is_newest in index.segments()
            if not segment.packed and segment.size_bytes and (not is_newest or segment.began_ns < oldest_ns)
        )
        return min(found, key=lambda segment: segment.began_ns, default=None)


class Compacting:
    """`run` rewrites what there is, then looks again every `pause_s`."""

    def __init__(self, index: Index, writer: Writer, clock: Clock, closed: Closed, *, pause_s: float) -> None:
        self._index, self._writer, self._clock = index, writer, clock
        self._closed, self._pause_s = closed, pause_s
        self._damaged: set[Path] = set()

    async def run(self) -> None:
        """Rewrite for ever."""
        while True:
            segment = self._closed.choose(self._index, int(self._clock.now().timestamp() * 10**9))
            if segment is None or segment.path in self._damaged:
                await asyncio.sleep(self._pause_s)
            else:
                await self._rewrite(segment)

    async def _rewrite(self, segment: Segment) -> None:
        blocks = [
            each
            for each in self._index.blocks(segment.project, segment.workload_id)
            if each.segment is segment
        ]
        try:
            packed = await asyncio.to_thread(pack, segment, blocks)
        except (LatticeError, OSError) as error:
            # It stays as it is: what can be read of it is read.
            self._damaged.add(segment.path)
            logger.warning("{} is not rewritten: {}", segment.path, error)
            return
        async with self._writer.alone:
            taken = self._index.replace(segment, *packed)
        metrics.REWRITTEN.inc(segment.size_bytes)
        await asyncio.sleep(_OLD_FILE_STAYS_S if taken else 0)
        await asyncio.to_thread((segment if taken else packed[0]).path.unlink, missing_ok=True)


def pack(segment: Segment, blocks: list[StoredBlock]) -> Packed:
    """Write the rewritten segment; on disk under its own name when it returns.  Raises Damaged where a block cannot be read."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
    path = segments.packed_path(segment.path)
    new = Segment(
        path, segment.project, segment.workload_id, segment.began_ns, segment.newest_ns, packed=True
    )
    stored: list[StoredBlock] = []
    with segments.written_whole(path) as file:
        for header, records in merged(blocks, _records):
            chunk = _frame(header, records)
            stored.append(frames_block(new, chunk, new.size_bytes))
            file.write(chunk)
            new.size_bytes += len(chunk)
    return new, stored


def _records(block: StoredBlock) -> bytes:
    return b"" if block.header.block.gap else log_records.unpack(segments.read_body(block))


def _frame(header: FrameHeader, records: bytes) -> bytes:
    if header.block.gap is not None:
        return frames.encode(header.model_dump_json().encode(), b"")
    body = zstandard.ZstdCompressor(level=_LEVEL).compress(records)
    found = word_filter.build(word_filter.words_in(records))
    header = header.model_copy(update={"filter_bytes": len(found)})
    return frames.encode(header.model_dump_json().encode(), body + found)


def frames_block(segment: Segment, chunk: bytes, offset: int) -> StoredBlock:
    """Where the one frame of a chunk lies, once the chunk is at this offset of its segment."""
    frame = frames.frame_at(chunk, 0)
    assert frame is not None, "a frame that was just made is intact"
    header = FrameHeader.model_validate_json(frame.header)
    return StoredBlock(segment, offset + frame.body_offset, frame.body_size, frame.body_check, header)
