"""What happened, wake-ups that may be lost, and messages that nobody could handle."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from lattice.contracts.nouns import Id, Noun

PLATFORM = "_platform"  # stands for the project in facts and alerts about nodes and the platform itself


class Fact(Noun):
    """Something that happened, kept 30 days.  `seq` is gap-free and given by the relay."""

    seq: int
    id: Id
    project: str
    entity: str
    verb: str
    entity_id: str
    entity_name: str = ""
    actor: str
    operation_id: str | None = None
    workload_id: str | None = Field(None, description="the workload that it concerns, whatever the entity")
    cause: str = ""
    at: datetime
    data: dict[str, Any] = {}


class PlacementWanted(Noun):
    """A workload has instances without a place: a wake-up, the scheduler looks for itself."""

    workload_id: Id


class DeadLetter(Noun):
    """Describes a message that no consumer could handle (the channel carries the message itself)."""

    stream: str
    consumer: str
    stream_seq: int
    deliveries: int
    subject: str
    reason: str


class GivenUp(Noun):
    """The server's own word (an advisory) that a consumer gave a message up."""

    stream: str
    consumer: str
    stream_seq: int
    deliveries: int = 0
    reason: str = ""
