"""How many lines there are: by time and label for a chart, and from the index alone for what there is at all."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lattice.contracts.messages.log_queries import QueryLogs
from lattice.contracts.messages.log_tests import LabelName
from lattice.contracts.nouns import Noun

MOST_BUCKETS = 12_000
MOST_SERIES = 1_000
MOST_LISTED = 3_000


class CountLogs(Noun):
    """The matching lines in each bucket: bucket n has those after `origin_ns + n * width_ns`, up to the beginning of the next one."""

    query: QueryLogs
    origin_ns: int
    width_ns: Annotated[int, Field(ge=1)]
    buckets: Annotated[int, Field(ge=1, le=MOST_BUCKETS)]
    by: tuple[LabelName, ...] = Field((), max_length=16)


class CountedSeries(Noun):
    """The lines with the same labels, in the order of `by`: bucket, number of lines, bytes of their text."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, int, int], ...]


class LogCounts(Noun):
    """Buckets from `complete_from` on are counted to the end; for the ones before it somebody asks again, with so many buckets."""

    series: tuple[CountedSeries, ...] = ()
    complete_from: int = 0


class ListedLog(Noun):
    """What the store has of one instance within the time that was asked for, in whole blocks."""

    project: str
    workload: str
    node: str
    instance: str
    lines: int
    size_bytes: int = Field(description="as it lies on the disk, compressed")
    blocks: int


class ListedLogs(Noun):
    """Where lines come from; `more` says that there are others."""

    logs: tuple[ListedLog, ...] = ()
    more: bool = False
