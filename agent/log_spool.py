"""Logs that wait on the node's disk until the log store has them: files of frames, oldest first, bounded together.

Only the event loop changes what is known of the files; threads write and read them, one at a time.  What is full lets its oldest file go, and
gaps with exact numbers take its place; these are kept in a small file beside, and never dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from agent.log_chunks import Chunk, LogSource, block_of
from agent.log_counting import LogCounting
from agent.log_gaps import Gaps, Key, gap_of, key_of, merged, range_of
from agent.log_place import LogPosition
from agent.log_ranges import BySource, united
from agent.log_recovery import Positions, read_gaps, recover
from agent.log_segments import Segment, path_of, segments_in
from agent.log_spool_frames import SpoolHeader, encode
from agent.log_spool_reading import Cursor, Taken, gaps_instead, take, unreadable
from lattice.cancelling import to_its_end
from lattice.contracts.messages import GapCause, LogBlock
from lattice.files import flush_folder, write_durably
from lattice.number_ranges import Range, Ranges, overlap

T = TypeVar("T")

DEFAULT_BYTES = 512 * 2**20
_SEGMENT_BYTES = 8 * 2**20
_FEWEST_SEGMENTS = 16
_GAPS = "gaps.json"


class LogSpool:
    """The logs of one node that are not known to be stored."""

    def __init__(self, folder: Path, *, most_bytes: int = DEFAULT_BYTES) -> None:
        self._folder, self._most_bytes = folder, most_bytes
        self._segment_bytes = min(_SEGMENT_BYTES, most_bytes // _FEWEST_SEGMENTS)
        self._segments: list[Segment] = []
        self._blocks: dict[str, LogBlock] = {}
        self._lock = asyncio.Lock()
        self.gaps: tuple[LogBlock, ...] = ()
        self._kept_gaps: tuple[LogBlock, ...] = ()
        self.sent_gaps: set[Key] = set()
        self.counts = LogCounting()
        self.filled = asyncio.Event()
        """Set when there is more to send."""
        self.changed = asyncio.Event()
        """Set when there is something to flush or to remove."""

    async def open(self, known: Mapping[str, LogPosition]) -> Positions:
        """Look at what is there; how far each container's log was read."""
        return await to_its_end(self._locked(asyncio.to_thread(self._open, known)))

    async def append(self, source: LogSource, chunks: Sequence[Chunk]) -> None:
        """Add chunks, together; they are on disk after the next `flush`."""
        headers = [
            SpoolHeader(block=block_of(source, each), size_bytes=each.size_bytes, position=each.position)
            for each in chunks
        ]
        await to_its_end(self._locked(self._append(headers, chunks)))
        self.counts.read(source.container_id, chunks)
        self.filled.set()
        self.changed.set()

    async def flush(self) -> None:
        """Everything that was added is on disk."""
        await to_its_end(self._locked(self._flush()))

    async def take(self, cursor: Cursor, *, budget_bytes: int, wanted: BySource | None = None) -> Taken:
        """Frames from there on that are not let go, as many as the budget allows, but at least one."""
        return await to_its_end(self._locked(self._take(cursor, budget_bytes, wanted)))

    def holds(self, block: LogBlock) -> bool:
        """Whether any of these records is still needed."""
        return any(overlap(each.held.get(block.source, ()), range_of(block)) for each in self._segments)

    def held(self) -> dict[str, Ranges]:
        """What is not known to be stored, gaps included."""
        gaps = ({gap.source: (range_of(gap),)} for gap in self.gaps)
        return united([*(segment.held for segment in self._segments), *gaps])

    @property
    def held_bytes(self) -> int:
        """How much of the disk is taken by what is not known to be stored."""
        return sum(segment.size for segment in self._segments if segment.held)

    @property
    def is_empty(self) -> bool:
        """Whether everything is known to be stored."""
        return not self.gaps and not any(segment.held for segment in self._segments)

    def let_go(self, source: str, numbers: Range) -> None:
        """These are stored, or never will be."""
        went = [segment.let_go(source, numbers) for segment in self._segments]
        kept = tuple(
            gap
            for gap in self.gaps
            if gap.source != source or gap.first < numbers[0] or gap.last > numbers[1]
        )
        if any(went) or len(kept) != len(self.gaps):
            self.changed.set()
        self.gaps = kept

    async def tidy(self) -> None:
        """Remove the files of which nothing is held.  The positions in them must be in the journal by now."""
        await to_its_end(self._locked(self._tidy()))

    def close(self) -> None:
        """The end.  The next agent need not ask for what nobody holds, if it finds the positions in the journal."""
        for segment in self._segments:
            if segment.held:
                segment.close()
            else:
                segment.remove()
        self._segments = []

    # ------------------------------------------------------------------------------------ under the lock

    async def _locked(self, work: Coroutine[Any, Any, T]) -> T:
        async with self._lock:
            return await work

    async def _append(self, headers: Sequence[SpoolHeader], chunks: Sequence[Chunk]) -> None:
        data = await asyncio.to_thread(_encoded, headers, chunks)
        segment = await self._room_for(len(data))
        await asyncio.to_thread(segment.write, data)
        for header in headers:
            segment.hold(header.block)
            self._blocks[header.block.source] = header.block

    async def _flush(self) -> None:
        if self._segments:
            await asyncio.to_thread(self._segments[-1].flush)

    async def _take(self, cursor: Cursor, budget_bytes: int, wanted: BySource | None) -> Taken:
        segments = [each for each in self._segments if each.serial >= cursor[0]]
        taken = await asyncio.to_thread(take, segments, cursor, budget_bytes, wanted)
        await self._tell_damage(taken)
        return taken

    async def _tidy(self) -> None:
        done = [each for each in self._segments[:-1] if not each.held]
        self._segments = [each for each in self._segments if each not in done]
        held = {source for segment in self._segments for source in segment.held}
        self._blocks = {source: block for source, block in self._blocks.items() if source in held}
        self.sent_gaps &= {key_of(gap) for gap in self.gaps}
        await asyncio.to_thread(self._remove, done, self.gaps)

    # ------------------------------------------------------------------------------------ room

    async def _room_for(self, size: int) -> Segment:
        while self._segments[1:] and self._size() + size > self._most_bytes:
            await self._drop_oldest()
        newest = self._segments[-1] if self._segments else None
        if newest is None or (newest.size and newest.size + size > self._segment_bytes):
            serial = newest.serial + 1 if newest else 1
            self._segments.append(await asyncio.to_thread(self._roll, newest, serial))
        return self._segments[-1]

    def _size(self) -> int:
        return sum(segment.size for segment in self._segments)

    async def _drop_oldest(self) -> None:
        oldest = self._segments[0]
        gaps = await asyncio.to_thread(gaps_instead, oldest, dict(oldest.held), dict(self._blocks))
        await self._add_gaps(gaps)
        self._segments.pop(0)
        await asyncio.to_thread(oldest.remove)

    async def _add_gaps(self, gaps: Sequence[LogBlock]) -> None:
        if not gaps:
            return
        self.counts.lost(gaps)
        self.gaps = merged(self.gaps, gaps, self.sent_gaps)
        await asyncio.to_thread(self._keep_gaps, self.gaps)
        self.filled.set()
        self.changed.set()

    async def _tell_damage(self, taken: Taken) -> None:
        gaps = [gap_of(header, GapCause.DAMAGED) for header in taken.broken]
        for segment in taken.damaged:
            gaps += await asyncio.to_thread(unreadable, segment, dict(segment.held), dict(self._blocks))
        await self._add_gaps(gaps)
        for gap in gaps:
            for segment in self._segments:
                segment.let_go(gap.source, range_of(gap))

    # ------------------------------------------------------------------------------------ in a thread

    def _open(self, known: Mapping[str, LogPosition]) -> Positions:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._segments = segments_in(self._folder)
        found = recover(self._segments, known)
        self._blocks = found.blocks
        self.gaps = self._kept_gaps = read_gaps(self._folder / _GAPS)
        for gap in self.gaps:
            for segment in self._segments:
                segment.let_go(gap.source, range_of(gap))
        self.gaps = merged(self.gaps, found.gaps, ())
        if found.gaps:
            self._keep_gaps(self.gaps)
        if self.gaps or any(segment.held for segment in self._segments):
            self.filled.set()
        return found.positions

    def _roll(self, before: Segment | None, serial: int) -> Segment:
        if before is not None:
            before.flush()
        segment = Segment(path_of(self._folder, serial))
        flush_folder(self._folder)
        return segment

    def _keep_gaps(self, gaps: tuple[LogBlock, ...]) -> None:
        write_durably(self._folder / _GAPS, Gaps(gaps=gaps).model_dump_json(exclude_defaults=True).encode())
        self._kept_gaps = gaps

    def _remove(self, segments: Sequence[Segment], gaps: tuple[LogBlock, ...]) -> None:
        for segment in segments:
            segment.remove()
        if self._kept_gaps is not gaps:
            self._keep_gaps(gaps)


def _encoded(headers: Sequence[SpoolHeader], chunks: Sequence[Chunk]) -> bytes:
    return b"".join(encode(header, chunk.body) for header, chunk in zip(headers, chunks, strict=True))
