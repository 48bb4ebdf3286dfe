"""What a node says of itself: from an agent to the registry."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field, field_validator
from pydantic_core import to_json

from lattice.contracts.nouns import (
    Amounts,
    ContainerKey,
    Id,
    Inventory,
    JobRun,
    NodeId,
    Noun,
    ObservedContainer,
    QuarantinedContainer,
    Said,
)


class Heartbeat(Noun):
    """Every 5 s: alive, and how busy."""

    node_id: NodeId
    boot_id: str
    session: int
    agent_version: str
    usage: Amounts = Amounts()
    disk_free_bytes: int | None = Field(
        None, description="what can still be written where `usage.disk_bytes` is used; null where unknown"
    )
    docker_problem: Said = Field(
        "", description="why the Engine cannot be used, in plain words; empty when it can"
    )


class ObservedDocument(Noun):
    """Everything that the agent sees on its node; complete, after every change and every 30 s.

    The newest is the one with the highest `counter` of a `boot_id`; a new boot id replaces an old one when its `session` is higher.
    """

    node_id: NodeId
    boot_id: str
    session: int
    counter: int
    era: int
    generation: int = Field(description="of the newest desired document that the agent has journalled")
    complete: bool = Field(
        description="false while the Engine cannot be listed: then absence of a container means nothing"
    )
    docker_problem: Said = ""
    containers: tuple[ObservedContainer, ...] = ()
    quarantined: tuple[QuarantinedContainer, ...] = ()
    volumes: tuple[Id, ...] = Field((), description="the volumes of this cluster that exist on the node")
    inventory: Inventory = Inventory()
    runs: tuple[JobRun, ...] = Field((), description="runs of jobs of which the registry does not know yet")


# An event becomes a fact, which must fit one message with room to spare.
MAX_EVENT_DETAIL = 8192
_MAX_EVENT_DATA_BYTES = 16 * 1024


class NodeEvent(Noun):
    """Something that happened on a node and that no state shows any more: an OOM kill, an exit, a refused document."""

    node_id: NodeId
    type: str = Field(
        pattern=r"^[a-z][a-z0-9_]{0,63}$", description="a token of its subject, and the fact's verb"
    )
    at: datetime
    key: ContainerKey | None = None
    detail: Said = Field("", max_length=MAX_EVENT_DETAIL)
    data: dict[str, Any] = {}

    @field_validator("data")
    @classmethod
    def _is_small(cls, data: dict[str, Any]) -> dict[str, Any]:
        if len(to_json(data)) > _MAX_EVENT_DATA_BYTES:
            raise ValueError(f"at most {_MAX_EVENT_DATA_BYTES} bytes")
        return data
