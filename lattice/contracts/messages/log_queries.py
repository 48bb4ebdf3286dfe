"""Questions about stored log lines, and whose lines they may be."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from lattice.contracts.messages.log_blocks import LogGap
from lattice.contracts.messages.log_tests import MOST_TESTS, AnyOf, LineFormat, SearchText, TextTest
from lattice.contracts.nouns import Id, NodeId, Noun, Phase
from lattice.log_levels import LogLevel

MOST_WORKLOADS = 200
# As people write it: what is no id, or nobody's, finds nothing.
Asked = Annotated[str, Field(max_length=256)]
MOST_LINES = 10_000


class KnownInstances(Noun):
    """Asks whether a node has or had an instance: logs accepts lines of no others.  One at a time, because a node may have had thousands."""

    node_id: NodeId
    instance_id: Id


class InstanceOwners(Noun):
    """instance_id -> (project, workload_id, workload_name); empty if the node never had it."""

    instances: dict[str, tuple[str, str, str]]
    node_name: str = Field(
        "", description="the node's, so that its lines can be shown with it also when it is gone"
    )


class LogPlace(Noun):
    """Before which line a page of older ones goes on: lines are in the order of time, then instance, container and number."""

    time_ns: int
    instance_id: str = ""
    source: str = ""
    number: int = 0


class QueryLogs(Noun):
    """The newest lines that match; what is not set restricts nothing.  Workloads are known by id or by name, also those that were removed."""

    project: str | None = Field(None, description="None: every project")
    workload_ids: tuple[Asked, ...] = Field((), max_length=MOST_WORKLOADS)
    workload_names: tuple[Asked, ...] = Field((), max_length=MOST_WORKLOADS)
    instance_ids: tuple[Asked, ...] = Field((), max_length=MOST_WORKLOADS)
    node_ids: tuple[Asked, ...] = Field((), max_length=MOST_WORKLOADS, description="nodes by id or name")
    source: str | None = Field(None, max_length=128, description="lines of this container only, by its id")
    stream: str | None = Field(None, max_length=16)
    since_ns: int | None = None
    until_ns: int | None = None
    grep: SearchText | None = Field(None, description="lines that contain this text")
    word: SearchText | None = Field(
        None, description="lines that contain this text, but not as a part of longer words"
    )
    regex: SearchText | None = Field(None, description="lines in which this RE2 expression is found")
    level: LogLevel | None = Field(None, description="lines that are at least so grave")
    fields: dict[str, str] = Field(
        {}, max_length=16, description="lines that are JSON objects with these fields"
    )
    texts: tuple[TextTest, ...] = Field((), max_length=MOST_TESTS, description="all of these hold")
    labels: tuple[AnyOf, ...] = Field((), max_length=MOST_TESTS, description="of each of these, one holds")
    formats: tuple[LineFormat, ...] = Field((), description="in which lines are read for labels of their own")
    levels: bool = Field(False, description="say with each line how grave it is")
    before: LogPlace | None = None
    limit: Annotated[int, Field(ge=1, le=MOST_LINES)] = 100


class LogLine(Noun):
    """One line as REST and CLI print it."""

    time: datetime
    node: str
    workload: str
    instance: str
    stream: str = Field(description="stdout, stderr, or gap where lines are missing")
    message: str
    number: int = 0
    source: str = Field("", description="container id: `number` starts anew with each container")
    project: str = ""
    level: LogLevel | None = Field(
        None, description="as the text says it; null where it says nothing, or nobody asked"
    )
    gap: LogGap | None = None


class LogLines(Noun):
    """Matching lines, oldest first, as JSON lines of `LogLine`, packed with zstd; with `next`, there may be older ones before that place.

    A search ends when it has enough or has taken long enough; then there may be fewer lines than asked for, and still `next`.
    """

    known: bool = Field(
        True, description="whether anything at all is stored of the workloads that were asked for"
    )
    packed: bytes = b""
    count: int = 0
    next: LogPlace | None = None


class PhaseReached(Noun):
    """A step of a deploy on the node, for progress: not stored."""

    instance_id: Id
    phase: Phase
    progress: str = ""
