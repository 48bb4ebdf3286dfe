"""One change of the registry's state: rows, facts, audit rows and wake-ups that are committed together or not at all.

    async with deps.change(caller, action="node.cordon") as change:
        node = await change.tx.get(NodeRow, node_id, lock=True)
        change.tx.update(node, cordoned=True)
        change.fact("node", "cordoned", entity_id=node.id, entity_name=node.name)
        change.audit("node", node.id, entity_name=node.name, before={"cordoned": False}, after={"cordoned": True})

Handlers get `Deps`: the store, the clock, the maker of ids, and what else the service needs.  Nothing here decides anything.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lattice.contracts.messages import PLATFORM, Caller
from lattice.storage import Store, Transaction
from services.registry.public_places import NO_PLACES, PublicPlaces
from services.registry.tables import AuditRow, FactRow, NodeRow, WakeUpRow

SYSTEM = Caller(actor="system:registry")


async def _nobody() -> None:
    """Nobody needs to be woken."""


@dataclass(slots=True)
class Change:
    """The open change; see the module's head."""

    tx: Transaction
    caller: Caller
    action: str
    now: datetime
    new_id: Callable[[str], str]
    operation_id: str | None = None
    places: PublicPlaces = NO_PLACES

    def fact(
        self,
        entity: str,
        verb: str,
        *,
        entity_id: str,
        entity_name: str = "",
        workload_id: str | None = None,
        project: str = PLATFORM,
        cause: str = "",
        data: Mapping[str, Any] | None = None,
        fact_id: str | None = None,
    ) -> FactRow:
        """Say what happened, to everybody who listens; `fact_id` where what happened has an id already."""
        row = FactRow(
            id=fact_id or self.new_id("fa"),
            project=project,
            entity=entity,
            verb=verb,
            entity_id=entity_id,
            entity_name=entity_name,
            workload_id=workload_id,
            actor=self.caller.actor,
            operation_id=self.operation_id,
            cause=cause or self.action,
            data=dict(data or {}),
            created_at=self.now,
        )
        return self.tx.add(row)

    def audit(
        self,
        entity: str,
        entity_id: str,
        *,
        entity_name: str = "",
        project: str | None = None,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
    ) -> None:
        """Leave a trace of who changed what."""
        self.tx.add(
            AuditRow(
                id=self.new_id("au"),
                at=self.now,
                actor=self.caller.actor,
                action=self.action,
                entity=entity,
                entity_id=entity_id,
                entity_name=entity_name,
                project=project,
                request_id=self.caller.request_id,
                before=None if before is None else dict(before),
                after=None if after is None else dict(after),
            )
        )

    def wake_scheduler(self, workload_id: str) -> None:
        """This workload has instances without a place."""
        self.tx.add(WakeUpRow(id=self.new_id("wu"), workload_id=workload_id, created_at=self.now))

    def touch_document(self, node: NodeRow) -> None:
        """The desired document of this node may have changed: render it again."""
        if not node.document_dirty:
            self.tx.update(node, document_dirty=True)


@dataclass(frozen=True, slots=True)
class Deps:
    """What every handler of the registry may use."""

    store: Store
    now: Callable[[], datetime]
    new_id: Callable[[str], str]
    wake_relay: Callable[[], Awaitable[None]] = _nobody
    places: PublicPlaces = NO_PLACES

    @asynccontextmanager
    async def change(self, caller: Caller, *, action: str) -> AsyncIterator[Change]:
        """Begin a change; commits at the end and wakes the relay, so that what was said is heard at once."""
        async with self.store.transaction() as tx:
            yield Change(
                tx=tx,
                caller=caller,
                action=action,
                now=self.now(),
                new_id=self.new_id,
                places=self.places,
            )
        await self.wake_relay()
