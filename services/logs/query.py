"""Searching: from the newest block back, until there is nothing newer left to find or the search has taken its time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush

from loguru import logger

from lattice import log_records
from lattice.contracts.messages import LogLines, LogPlace, QueryLogs
from lattice.errors import Invalid
from lattice.log_labels import Place
from lattice.log_matching import LineMatcher
from lattice.log_records import Line
from lattice.log_shown import LineWriter, gap_line
from services.logs import metrics
from services.logs.index import StoredBlock
from services.logs.segments import Damaged
from services.logs.words import words_of

# An answer is one message of at most 1 MiB; beyond these bytes the oldest lines are left for the next page.
MOST_TEXT = 700_000

Key = tuple[int, str, str, int]  # time, instance, container, number: the order of lines
Records = Callable[[], bytes]
IsOver = Callable[[], bool]


@dataclass(slots=True)
class Newest:
    """The newest lines so far, the oldest of them on top; no more than `limit`, and than one answer takes."""

    limit: int
    before: Key | None
    size: int = 0
    heap: list[tuple[Key, Line, StoredBlock]] = field(default_factory=list)

    def add(self, line: Line, block: StoredBlock) -> None:
        """Keep a line if it is among the newest, and on this page."""
        about = block.header.block
        key = (line.time_ns, about.instance_id, about.source, line.number)
        if self.before is not None and key >= self.before:
            return
        heappush(self.heap, (key, line, block))
        self.size += _size(line)
        while len(self.heap) > self.limit or (self.size > MOST_TEXT and len(self.heap) > 1):
            _, gone, _ = heappop(self.heap)
            self.size -= _size(gone)
            self.limit = len(self.heap)  # older ones are for the next page

    def can_improve(self, time_ns: int) -> bool:
        """Whether a line of this time would be among them."""
        return len(self.heap) < self.limit or time_ns >= self.heap[0][0][0]

    def gets_further(self, time_ns: int) -> bool:
        """Whether a page that goes on from this time would see less than this one."""
        return self.before is None or time_ns + 1 < self.before[0]


def wanted(blocks: Iterable[StoredBlock], matcher: LineMatcher) -> Iterator[StoredBlock]:
    """The blocks that can have a wanted line, as far as that is known without reading them."""
    words = _words(matcher.query)
    return (block for block in blocks if _may_have(block, matcher) and block.may_contain(words))


def _may_have(block: StoredBlock, matcher: LineMatcher) -> bool:
    about, query = block.header.block, matcher.query
    return (
        query.source in (None, about.source)
        and (not query.instance_ids or about.instance_id in query.instance_ids)
        and (not query.node_ids or _is_of(block, query.node_ids))
        and matcher.may_match_between(about.first_at_ns, about.last_at_ns)
        and matcher.may_match_from(place_of(block))
        and (query.before is None or about.first_at_ns <= query.before.time_ns)
    )


def place_of(block: StoredBlock) -> Place:
    """Where its lines come from."""
    header, about = block.header, block.header.block
    return Place(about.project, header.workload_name, header.node_name or about.node_id, about.instance_id)


def search(
    found: Iterable[tuple[StoredBlock, Records]], query: QueryLogs, matcher: LineMatcher, is_over: IsOver
) -> LogLines:
    """The newest matching lines, oldest first.  `found` has the block with the newest line first, and how to get at its records.

    Where `is_over` says so, only what is certainly newer than the blocks not looked at is answered, and from where to go on.
    """
    newest, has_looked = Newest(query.limit, _key_of(query.before)), False
    for block, records in found:
        last_ns = block.header.block.last_at_ns
        if not newest.can_improve(last_ns):
            break
        if has_looked and newest.gets_further(last_ns) and is_over():
            return _down_to(newest, last_ns, query)
        for line in matching(block, matcher, query.grep, records):
            if not newest.can_improve(line.time_ns):
                break
            newest.add(line, block)
        has_looked = True
    return _answer(sorted(newest.heap), query, more=len(newest.heap) == newest.limit)


def _words(query: QueryLogs) -> tuple[str, ...]:
    """Those that a wanted line certainly has: of a text those inside it, of whole words all."""
    inside = words_of(query.grep) if query.grep else ()
    return inside + (words_of(f" {query.word} ") if query.word else ())


def _size(line: Line) -> int:
    """About what a line takes in an answer."""
    return len(line.text) + 250


def _is_of(block: StoredBlock, nodes: tuple[str, ...]) -> bool:
    return block.header.block.node_id in nodes or block.header.node_name in nodes


def _key_of(place: LogPlace | None) -> Key | None:
    return None if place is None else (place.time_ns, place.instance_id, place.source, place.number)


def matching(block: StoredBlock, matcher: LineMatcher, grep: str | None, records: Records) -> Iterator[Line]:
    """The block's matching lines, newest first; none of a block that is damaged or was let go meanwhile.  A gap is told whatever is searched for."""
    about = block.header.block
    if about.gap is not None:
        yield gap_line(about)
        return
    try:
        data = records()
    except FileNotFoundError:
        return
    except (Damaged, Invalid) as error:
        metrics.DAMAGED.inc()
        logger.warning("a block is left out: {}", error)
        return
    lines = log_records.newest_lines(data, about.first, containing=grep, pieces=about.pieces > 0)
    yield from lines if matcher.wants_all else filter(matcher.matches, lines)


def _down_to(newest: Newest, time_ns: int, query: QueryLogs) -> LogLines:
    """What is newer than a time; the next page begins there."""
    certain = [item for item in sorted(newest.heap) if item[0][0] > time_ns]
    return _answer(certain, query, more=True, place=LogPlace(time_ns=time_ns + 1))


def _answer(
    items: list[tuple[Key, Line, StoredBlock]], query: QueryLogs, *, more: bool, place: LogPlace | None = None
) -> LogLines:
    room, chosen, writers = MOST_TEXT, list[bytes](), dict[int, LineWriter]()
    for _, line, block in reversed(items):
        if (writer := writers.get(id(block))) is None:
            writer = writers[id(block)] = writer_for(block, query)
        text = f"{writer.write(line)}\n".encode()
        room -= len(text)
        if room < 0:
            more, place = True, None
            break
        chosen.append(text)
    if place is None and more and chosen:
        place = _place_of(items[-len(chosen)][0])
    return LogLines(packed=log_records.pack(b"".join(reversed(chosen))), count=len(chosen), next=place)


def writer_for(block: StoredBlock, query: QueryLogs) -> LineWriter:
    """Who writes its lines."""
    header = block.header
    node = header.node_name or header.block.node_id
    return LineWriter(header.block, workload=header.workload_name, node=node, levels=query.levels)


def _place_of(key: Key) -> LogPlace:
    time_ns, instance_id, source, number = key
    return LogPlace(time_ns=time_ns, instance_id=instance_id, source=source, number=number)
