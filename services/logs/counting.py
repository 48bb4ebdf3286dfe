"""Counts the matching lines by time and label, from the newest block back, until all is counted or the search has taken its time.

Only whole buckets are answered: every line of theirs was seen.  Gaps are no lines and are not counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from lattice.contracts.messages import CountedSeries, CountLogs, LogCounts, QueryLogs
from lattice.contracts.messages.log_counts import MOST_SERIES
from lattice.errors import Invalid
from lattice.log_labels import PLACE_LABELS, line_label
from lattice.log_matching import LineMatcher
from lattice.log_records import Line
from services.logs.index import StoredBlock
from services.logs.query import IsOver, Records, matching, place_of

# An answer is one message of at most 1 MiB.
MOST_CELLS = 20_000

Labels = tuple[str, ...]


def query_of(request: CountLogs) -> QueryLogs:
    """The lines that are to be counted: those within the buckets."""
    since_ns = request.origin_ns + 1
    until_ns = request.origin_ns + request.width_ns * request.buckets
    return request.query.model_copy(update={"since_ns": since_ns, "until_ns": until_ns, "before": None})


@dataclass(slots=True)
class Tally:
    """Lines and bytes by labels and bucket."""

    request: CountLogs
    lines: Counter[tuple[Labels, int]] = field(default_factory=Counter)
    bytes: Counter[tuple[Labels, int]] = field(default_factory=Counter)
    series: set[Labels] = field(default_factory=set)

    def add(self, block: StoredBlock, line: Line) -> None:
        """Count one line.  Raises Invalid where there are too many different labels."""
        labels = self._labels(block, line)
        self.series.add(labels)
        if len(self.series) > MOST_SERIES:
            raise Invalid(f"More than {MOST_SERIES} series: group by labels with fewer values.")
        cell = (labels, self.bucket(line.time_ns))
        self.lines[cell] += 1
        self.bytes[cell] += len(line.text.encode())

    def bucket(self, time_ns: int) -> int:
        """In which bucket a time is."""
        return (time_ns - self.request.origin_ns - 1) // self.request.width_ns

    def answer(self, complete_from: int) -> LogCounts:
        """What is known of these buckets."""
        found: dict[Labels, list[tuple[int, int, int]]] = {}
        for (labels, bucket), count in sorted(self.lines.items()):
            if bucket >= complete_from:
                found.setdefault(labels, []).append((bucket, count, self.bytes[labels, bucket]))
        series = (CountedSeries(labels=labels, counts=tuple(counts)) for labels, counts in found.items())
        return LogCounts(series=tuple(series), complete_from=complete_from)

    def _labels(self, block: StoredBlock, line: Line) -> Labels:
        place, formats = place_of(block), self.request.query.formats
        return tuple(
            place.label(name) if name in PLACE_LABELS else line_label(line, name, formats)
            for name in self.request.by
        )


def count(
    found: Iterable[tuple[StoredBlock, Records]], request: CountLogs, matcher: LineMatcher, is_over: IsOver
) -> LogCounts:
    """The buckets that could be counted in time, at least one of them.  `found` has the block with the newest line first."""
    tally = Tally(request)
    for block, records in found:
        complete_from = tally.bucket(block.header.block.last_at_ns) + 1
        if 0 < complete_from < request.buckets and (len(tally.lines) > MOST_CELLS or is_over()):
            return tally.answer(complete_from)
        if block.header.block.gap is None:
            for line in matching(block, matcher, request.query.grep, records):
                tally.add(block, line)
    return tally.answer(0)
