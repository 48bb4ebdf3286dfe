"""What containers wrote, on its way from a node to the log store, and what the store says of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, model_validator

from lattice.contracts.nouns import Id, Name, NodeId, Noun

# In place of a node, for what the platform's own services write; in place of a workload, for what an agent writes.  Ids of neither look like that.
PLATFORM_NODE, AGENT_LOG = "platform", "agent"
# Well below the server's 1 MiB per message.
MOST_RANGES = 2_000
Source = Annotated[
    str, Field(max_length=128, description="container id: the numbering starts anew with each container")
]


class GapCause(StrEnum):
    """Why records of a log are missing."""

    SPOOL_FULL = "spool_full"  # the platform was away for so long that the node had no more room for them
    ROTATED = "rotated"  # the Engine let its file go before it was read
    DAMAGED = "damaged"  # the node's file, or its spool, could not be read


class LogGap(Noun):
    """Takes the place of records that are lost: the block's numbers are theirs, and its times the first and last moment that may be missing."""

    cause: GapCause
    lines: int | None = Field(
        None, ge=0, description="how many; not known of what was never read: then the gap has one number"
    )
    size_bytes: int | None = Field(
        None, ge=0, description="how long they were in the Engine's file, where that is known"
    )


class LogBlock(Noun):
    """Describes a block of log records (the channel carries the block itself, zstd over what `log_records` describes), or a gap, with no body.

    Records of one container are numbered from 1 on; `first` … `last` are the numbers in this block, so the store can tell a duplicate from a gap.
    """

    node_id: NodeId
    workload_id: Id
    instance_id: Id
    project: Name | Literal["_platform"]
    slot: int
    epoch: int
    source: Source
    first: int
    last: int
    first_at_ns: int
    last_at_ns: int
    pieces: int = Field(0, ge=0, description="how many records do not end a line")
    gap: LogGap | None = None


class LogRange(Noun):
    """Records `first` … `last` of one container, both included."""

    source: Source
    first: int
    last: int

    @model_validator(mode="after")
    def _is_in_order(self) -> LogRange:
        if self.last < self.first:
            raise ValueError("the last record comes before the first")
        return self


class LogsHeld(Noun):
    """A node asks what of its spool is stored: after each new link, and while something waits."""

    ranges: tuple[LogRange, ...] = Field(max_length=MOST_RANGES)


class LogsStored(Noun):
    """These are on the log store's disk, or will never be taken; the node may let them go."""

    stored: tuple[LogRange, ...] = Field((), max_length=MOST_RANGES)
    refused: tuple[LogRange, ...] = Field(
        (), max_length=MOST_RANGES, description="of instances that the node never had, or unreadable"
    )
