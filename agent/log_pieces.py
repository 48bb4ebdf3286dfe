"""Numbers for the pieces that the logs API tells, and a place in the log from which reading can go on.  Pure.

A piece is a record of the Engine's file.  The API tells its time but not its place, and times of one log may be out of order by a little.  A
place is therefore a time that lies above all earlier pieces, and how many pieces at or after it are done: read again from that time, skip that
many, and the numbers come out the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from agent.log_chunks import Chunk, chunk_of, gap_chunk
from agent.log_place import LogPosition
from lattice import log_records
from lattice.contracts.messages import GapCause
from lattice.runtime import LogPiece

# How far behind the newest time the remembered one stays: the most by which times of a log may be out of order.
_LAG_NS = 2 * 10**9


class PieceReader:
    """Tells pieces that were not read before from those that were, beginning at a position."""

    def __init__(self, position: LogPosition) -> None:
        self.position = position
        self._base, self._first, self._count = position.base_ns, position.first_ns, position.count
        self._last = position.last_ns
        self._to_skip = position.count
        # A position in a file means nothing here but its time.
        self._by_time = position.number > 0 and position.count == 0
        self._began = False
        self._lost_at: int | None = None
        self._next_base, self._next_first, self._next_count = 0, 0, 0

    def feed(self, pieces: Iterable[LogPiece]) -> list[Chunk]:
        """What is new of these pieces, as one chunk; before it a gap where the log was rotated away beyond the position."""
        fresh = [piece for piece in pieces if not self._is_done(piece)]
        if not fresh:
            return []
        gaps = self._gaps(fresh[0].time_ns)
        before = gaps[-1].position if gaps else self.position
        chunk = chunk_of(records_of(fresh), before, self._place())
        self.position = chunk.position
        return [*gaps, chunk]

    def _gaps(self, until_ns: int) -> list[Chunk]:
        if self._lost_at is None:
            return []
        self._lost_at = None
        return [gap_chunk(GapCause.ROTATED, self.position, until_ns)]

    def _is_done(self, piece: LogPiece) -> bool:
        """Whether a piece was read before the position; only the first ones can be."""
        if not self._began:
            self._begin(piece)
        if self._by_time and piece.time_ns <= self._last:
            return True
        if self._to_skip > 0:
            self._to_skip -= 1
            return True
        if self._by_time:
            self._by_time = False
            self._base, self._first, self._count = piece.time_ns, piece.time_ns, 0
        self._note(piece.time_ns)
        return False

    def _begin(self, piece: LogPiece) -> None:
        self._began = True
        if self._to_skip > 0 and piece.time_ns != self._first:
            self._by_time, self._to_skip, self._lost_at = True, 0, piece.time_ns
        elif self._by_time and piece.time_ns > self._last:
            self._lost_at = piece.time_ns

    def _note(self, at: int) -> None:
        self._count, self._first = _counted(at, self._base, self._count, self._first)
        if at > self._last and at > self._next_base + _LAG_NS:
            if self._next_base:
                self._base, self._first, self._count = self._next_base, self._next_first, self._next_count
                self._count, self._first = _counted(at, self._base, self._count, self._first)
            self._next_base, self._next_first, self._next_count = at, at, 0
        if self._next_base:
            self._next_count, self._next_first = _counted(
                at, self._next_base, self._next_count, self._next_first
            )
        self._last = max(self._last, at)

    def _place(self) -> dict[str, object]:
        return {
            "last_ns": self._last,  # the greatest of all, which need be neither the first nor the last of the chunk
            "inode": 0,
            "fingerprint": "",
            "offset": 0,
            "base_ns": self._base,
            "first_ns": self._first,
            "count": self._count,
        }


def records_of(pieces: Sequence[LogPiece]) -> bytes:
    """As the Engine writes them."""
    return b"".join(
        log_records.record(piece.time_ns, piece.stream, piece.text.decode(errors="replace"))
        for piece in pieces
    )


def _counted(at: int, base: int, count: int, first: int) -> tuple[int, int]:
    """Count and first time of the pieces at or after `base`, with one more piece."""
    if at < base:
        return count, first
    return count + 1, first if count else at
