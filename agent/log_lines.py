"""From the pieces of a container's log to numbered lines, and a place in the log from which reading can go on.  Pure.

The Engine tells the time of a piece but not its place, and times of one log may be out of order by a little.  A place is therefore a time that
lies above all earlier pieces, and how many pieces at or after it are done: read again from that time, skip that many, and the lines and their
numbers come out the same.  A line that is not complete yet is not done.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from pydantic import Field

from lattice.contracts.nouns import Noun
from lattice.runtime import LogPiece

LONGEST_LINE = 64 * 1024
# How far behind the newest time the remembered one stays: the most by which times of a log may be out of order.
_LAG_NS = 2 * 10**9


class LogPosition(Noun):
    """How far one container's log is shipped: `count` pieces at or after `base_ns` are done, up to line `line`.

    Times of a log may be out of order by a little, so a time alone does not name a place in it; a time and a count do.
    """

    base_ns: int = 0
    first_ns: int = Field(
        0, description="of the first piece at or after `base_ns`: another one means rotation"
    )
    last_ns: int = 0
    count: int = 0
    line: int = 0


class Line(NamedTuple):
    """One line as it is shipped."""

    number: int
    time_ns: int
    stream: str
    text: str


class LineReader:
    """Turns pieces into lines, beginning at a position."""

    def __init__(self, position: LogPosition) -> None:
        self.position = position
        """The newest place at which no line was incomplete."""
        self.lost = False
        """Whether the log was rotated away beyond the position, so that lines are missing."""
        self._base, self._first, self._count = position.base_ns, position.first_ns, position.count
        self._line, self._last = position.line, position.last_ns
        self._to_skip = position.count
        self._began = False
        self._next_base, self._next_first, self._next_count = 0, 0, 0
        self._highest = position.last_ns
        self._partial: dict[str, tuple[int, bytearray]] = {}

    def feed(self, pieces: Iterable[LogPiece]) -> list[Line]:
        """The lines that these pieces complete."""
        lines: list[Line] = []
        for piece in pieces:
            if not self._is_done(piece):
                self._count_piece(piece)
                self._join(piece, lines)
        if not self._partial:
            self.position = LogPosition(
                base_ns=self._base,
                first_ns=self._first,
                last_ns=self._last,
                count=self._count,
                line=self._line,
            )
        return lines

    def end(self) -> list[Line]:
        """The rest of lines that will never be completed, because their container ended."""
        lines = [
            self._numbered(time_ns, stream, bytes(text)) for stream, (time_ns, text) in self._partial.items()
        ]
        self._partial.clear()
        self.feed(())
        return lines

    def _is_done(self, piece: LogPiece) -> bool:
        """Whether a piece was shipped before the position; only the first pieces after it can be."""
        if not self._began:
            self._began = True
            self.lost = self._to_skip > 0 and piece.time_ns != self._first
        if self.lost:
            return piece.time_ns <= self._last and self._to_skip > 0
        if self._to_skip > 0:
            self._to_skip -= 1
            return True
        return False

    def _count_piece(self, piece: LogPiece) -> None:
        at = piece.time_ns
        if self.lost and self._to_skip > 0:
            self._to_skip = 0
            self._base, self._first, self._count = at, at, 0
        self._count, self._first = _counted(at, self._base, self._count, self._first)
        if at > self._highest and at > self._next_base + _LAG_NS:
            if self._next_base:
                self._base, self._first, self._count = self._next_base, self._next_first, self._next_count
                self._count, self._first = _counted(at, self._base, self._count, self._first)
            self._next_base, self._next_first, self._next_count = at, at, 0
        if self._next_base:
            self._next_count, self._next_first = _counted(
                at, self._next_base, self._next_count, self._next_first
            )
        self._highest = max(self._highest, at)
        self._last = self._highest

    def _join(self, piece: LogPiece, lines: list[Line]) -> None:
        time_ns, text = self._partial.pop(piece.stream, (piece.time_ns, bytearray()))
        text += piece.text
        while len(text) > LONGEST_LINE:
            lines.append(self._numbered(time_ns, piece.stream, bytes(text[:LONGEST_LINE])))
            del text[:LONGEST_LINE]
        if text.endswith(b"\n"):
            lines.append(self._numbered(time_ns, piece.stream, bytes(text[:-1])))
        elif text:
            self._partial[piece.stream] = (time_ns, text)

    def _numbered(self, time_ns: int, stream: str, text: bytes) -> Line:
        self._line += 1
        return Line(self._line, time_ns, stream, text.decode(errors="replace"))


def _counted(at: int, base: int, count: int, first: int) -> tuple[int, int]:
    """Count and first time of the pieces at or after `base`, with one more piece."""
    if at < base:
        return count, first
    return count + 1, first if count else at
