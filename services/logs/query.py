"""Searching: from the newest block back, one block unpacked at a time, until there is nothing newer left to find."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from heapq import heappush, heappushpop

from loguru import logger

from lattice import log_records
from lattice.contracts.messages import LogLine, LogLines, QueryLogs
from lattice.errors import Invalid
from services.logs import metrics
from services.logs.index import StoredBlock
from services.logs.segments import Damaged

# An answer is one message of at most 1 MiB; beyond this the oldest lines are left out.
MOST_TEXT = 700_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_Key = tuple[int, str, int]  # time, instance, number: the order of lines


@dataclass(slots=True)
class _Newest:
    """The newest lines so far, the oldest of them on top."""

    limit: int
    heap: list[tuple[_Key, LogLine]] = field(default_factory=list)

    def add(self, key: _Key, line: LogLine) -> None:
        if len(self.heap) < self.limit:
            heappush(self.heap, (key, line))
        else:
            heappushpop(self.heap, (key, line))

    def can_improve(self, time_ns: int) -> bool:
        """Whether a line of this time would be among them."""
        return len(self.heap) < self.limit or time_ns >= self.heap[0][0][0]


def search(
    found: Sequence[StoredBlock], query: QueryLogs, read_body: Callable[[StoredBlock], bytes]
) -> LogLines:
    """The newest matching lines, oldest first.  `found` is in the order of its last lines' times."""
    newest = _Newest(query.limit)
    for block in reversed(found):
        if not newest.can_improve(block.header.block.last_at_ns):
            break
        if _overlaps(block, query):
            for key, line in _matching(block, query, read_body):
                if not newest.can_improve(key[0]):
                    break
                newest.add(key, line)
    return _answer([line for _, line in sorted(newest.heap)])


def _overlaps(block: StoredBlock, query: QueryLogs) -> bool:
    about = block.header.block
    if query.source is not None and about.source != query.source:
        return False
    return (query.since_ns is None or about.last_at_ns >= query.since_ns) and (
        query.until_ns is None or about.first_at_ns <= query.until_ns
    )


def _matching(
    block: StoredBlock, query: QueryLogs, read_body: Callable[[StoredBlock], bytes]
) -> Iterator[tuple[_Key, LogLine]]:
    """The block's matching lines, newest first; none of a block that is damaged or was let go meanwhile."""
    about = block.header.block
    for line in _lines(block, query, read_body):
        if query.until_ns is not None and line.time_ns > query.until_ns:
            continue
        if query.since_ns is not None and line.time_ns < query.since_ns:
            continue
        yield (
            (line.time_ns, about.instance_id, line.number),
            LogLine(
                time=_EPOCH + timedelta(microseconds=line.time_ns // 1000),
                node=about.node_id,
                workload=block.header.workload_name,
                instance=about.instance_id,
                stream=line.stream,
                message=line.text,
                number=line.number,
            ),
        )


def _lines(
    block: StoredBlock, query: QueryLogs, read_body: Callable[[StoredBlock], bytes]
) -> Iterator[log_records.Line]:
    try:
        about = block.header.block
        if about.gap is not None:
            return
        records = log_records.unpack(read_body(block))
        yield from log_records.newest_lines(
            records, about.first, containing=query.grep, pieces=about.pieces > 0
        )
    except FileNotFoundError:
        return
    except (Damaged, Invalid) as error:
        metrics.DAMAGED.inc()
        logger.warning("a block is left out: {}", error)


def _answer(lines: list[LogLine]) -> LogLines:
    room = MOST_TEXT
    for index in range(len(lines) - 1, -1, -1):
        room -= len(lines[index].message.encode()) + 200
        if room < 0:
            return LogLines(lines=tuple(lines[index + 1 :]), truncated=True)
    return LogLines(lines=tuple(lines))
