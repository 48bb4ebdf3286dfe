"""Questions about stored log lines, and whose lines they may be."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from lattice.contracts.nouns import Id, NodeId, Noun, Phase


class KnownInstances(Noun):
    """Asks whether a node has or had an instance: logs accepts lines of no others.  One at a time, because a node may have had thousands."""

    node_id: NodeId
    instance_id: Id


class InstanceOwners(Noun):
    """instance_id -> (project, workload_id, workload_name); empty if the node never had it."""

    instances: dict[str, tuple[str, str, str]]


class QueryLogs(Noun):
    project: str
    workload_id: Id
    since_ns: int | None = None
    until_ns: int | None = None
    grep: str | None = Field(None, max_length=1024, description="lines that contain this text")
    source: str | None = Field(None, max_length=128, description="lines of this container only, by its id")
    limit: Annotated[int, Field(ge=1, le=10_000)] = 100


class LogLine(Noun):
    """One line as REST and CLI print it."""

    time: datetime
    node: str
    workload: str
    instance: str
    stream: str
    message: str
    number: int = 0
    source: str = Field("", description="container id: `number` starts anew with each container")


class LogLines(Noun):
    """The newest matching lines, oldest first."""

    lines: tuple[LogLine, ...]
    truncated: bool = Field(False, description="older ones were left out: the answer would have been too big")


class PhaseReached(Noun):
    """A step of a deploy on the node, for progress: not stored."""

    instance_id: Id
    phase: Phase
    progress: str = ""
