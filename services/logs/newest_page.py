"""The newest lines of a log when nothing is searched for, written from the records as they stand: no line is taken apart.  Pure.

What is asked for by far the most often are the last lines of one container.  Its blocks follow each other in time, so nothing has to be put in
order, and a record's text is JSON already.  Whatever is not so simple is for `query.search`, which would answer the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from lattice import log_records
from lattice.contracts.messages import LogLines, LogPlace, QueryLogs
from lattice.errors import LatticeError
from lattice.log_matching import LineMatcher
from lattice.log_records import QuotedLine
from services.logs.index import StoredBlock
from services.logs.query import MOST_TEXT, writer_for

# More would be too much for one answer; where it ends is found out line by line.
_MOST_LINES = 4000


@dataclass(slots=True)
class _Page:
    """The lines so far, those of the newest block first."""

    query: QueryLogs
    left: int
    parts: list[list[str]] = field(default_factory=list)
    oldest: LogPlace | None = None

    def comes_before(self, block: StoredBlock) -> bool:
        """Whether all of a block is older than what is on the page."""
        return self.oldest is None or block.header.block.last_at_ns < self.oldest.time_ns

    def add(self, block: StoredBlock, records: bytes) -> bool:
        """Add the last lines of a block; False where they are not simple."""
        about = block.header.block
        # One more: where that is older, no line before it is wanted, whatever was done to the clock.
        lines = log_records.newest_quoted(records, self.left + 1)
        if not lines or not _is_in_order(lines, begins_at=len(lines) - self.left):
            return False
        chosen = lines[-self.left :]
        first = about.last - len(chosen) + 1
        self.parts.append(writer_for(block, self.query).write_quoted(chosen, first))
        self.left -= len(chosen)
        time_ns = log_records.ns_of_stamp(chosen[0][0])
        self.oldest = LogPlace(
            time_ns=time_ns, instance_id=about.instance_id, source=about.source, number=first
        )
        return True

    def answer(self) -> LogLines | None:
        """The page, unless it is too large."""
        lines = [line for part in reversed(self.parts) for line in part]
        text = "\n".join([*lines, ""]).encode()
        if len(text) > MOST_TEXT:
            return None
        return LogLines(
            packed=log_records.pack(text), count=len(lines), next=None if self.left else self.oldest
        )


def newest_page(
    blocks: Iterable[StoredBlock], matcher: LineMatcher, records_of: Callable[[StoredBlock], bytes]
) -> LogLines | None:
    """What `search` would answer, or None where only that can tell; `blocks` has the one with the newest line first."""
    query = matcher.query
    if not matcher.wants_all or query.levels or query.before or query.limit > _MOST_LINES:
        return None
    page = _Page(query, query.limit)
    for block in blocks:
        if not page.comes_before(block) or not _is_simple(block):
            return None
        if page.left == 0:
            break
        if not _added(page, block, records_of):
            return None
    return page.answer()


def _is_simple(block: StoredBlock) -> bool:
    """Whether its lines are records, and lie here: an object store is better asked for several blocks at once."""
    about = block.header.block
    return about.gap is None and about.pieces == 0 and not block.segment.remote


def _is_in_order(lines: Sequence[QuotedLine], *, begins_at: int) -> bool:
    """Whether times never go back, and what is before the place where the page begins is older."""
    stamps = [stamp for stamp, _, _ in lines]
    return stamps == sorted(stamps) and (begins_at <= 0 or stamps[begins_at - 1] < stamps[begins_at])


def _added(page: _Page, block: StoredBlock, records_of: Callable[[StoredBlock], bytes]) -> bool:
    try:
        return page.add(block, records_of(block))
    except (LatticeError, FileNotFoundError):
        return False  # the search tells of it
