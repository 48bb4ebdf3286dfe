"""Tells the ingresses who has links to whom: what was touched is looked at anew, and told where that says anything new.

Only the relay runs this, so nobody else waits for its rows.  The bus keeps the newest document of each name.
"""

from __future__ import annotations

from dataclasses import dataclass

from loguru import logger

from lattice.contracts.catalogue import LINK
from lattice.contracts.messages import LinkDocument
from lattice.errors import LatticeError, Temporary
from lattice.messaging import Bus
from lattice.storage import In, Transaction
from services.registry.change import Deps
from services.registry.link_documents import LinkGround, link_document, ports_to
from services.registry.node_rows import members_of
from services.registry.tables import (
    ClusterRow,
    InstanceRow,
    LinkRow,
    LinkTargetRow,
    LinkTouchRow,
    RevisionRow,
    WorkloadRow,
)
from services.registry.told import note_told


@dataclass(frozen=True, slots=True)
class LinkPublisher:
    """Makes the documents of links and publishes them."""

    deps: Deps
    bus: Bus

    async def publish_new(self, *, limit: int) -> int:
        """Look at what was touched, and publish what is new; returns how many touches there were."""
        async with self.deps.store.transaction() as tx:
            touches = await tx.find(LinkTouchRow, limit=limit)
            for project, target in sorted({(each.project, each.target) for each in touches}):
                await self._look_or_say(tx, project, target)
            for touch in touches:
                tx.delete(touch)
        async with self.deps.store.transaction() as tx:
            rows = await tx.find(LinkTargetRow, unpublished=True, limit=limit)
        for row in rows:
            await self._publish(row)
        return len(touches)

    async def publish_all(self) -> None:
        """Publish every document again: the bus may have lost what it had."""
        async with self.deps.store.transaction() as tx:
            rows = await tx.find(LinkTargetRow)
        for row in rows:
            await self._publish(row)

    async def _look_or_say(self, tx: Transaction, project: str, target: str) -> None:
        try:
            await self._look(tx, project, target)
        except ValueError as error:
            # Of this one; nobody else is to wait for it.
            logger.error("links to {} stay as they were, for their rows cannot be read: {}", target, error)

    async def _look(self, tx: Transaction, project: str, target: str) -> None:
        known = await tx.find(LinkTargetRow, project=project, name=target, lock=True)
        row = known[0] if known else LinkTargetRow(
            id=self.deps.new_id("lk"), project=project, name=target, document={}
        )  # fmt: skip
        cluster = await tx.get(ClusterRow, 1)
        era = cluster.era if cluster is not None else 0
        document = link_document(row, await _ground(tx, project, target), era=era, number=row.number + 1)
        if known and _says_the_same(row, document):
            return
        if not known:
            tx.add(row)
        tx.update(row, document=document.model_dump(mode="json"), number=document.number, unpublished=True)

    async def _publish(self, row: LinkTargetRow) -> None:
        document = LinkDocument.model_validate(row.document)
        try:
            await self.bus.append_newest(LINK, document, order=lambda it: it.order, link_id=row.id)
        except Temporary:
            raise
        except (LatticeError, ValueError) as error:
            # Of this one; nobody else is to wait for it.
            logger.error("links to {} stay as they were, for they cannot be told: {}", row.name, error)
        await note_told(self.deps, row)


def _says_the_same(row: LinkTargetRow, document: LinkDocument) -> bool:
    return LinkDocument.model_validate(row.document | {"number": document.number}) == document


async def _ground(tx: Transaction, project: str, target: str) -> LinkGround:
    workloads = await tx.find(WorkloadRow, project=project, name=target, removed_at=None)
    workload = workloads[0] if workloads else None
    instances = (
        await tx.find(InstanceRow, workload_id=workload.id, gone_at=None) if workload is not None else []
    )
    sources = tuple(row.workload_id for row in await tx.find(LinkRow, project=project, target=target))
    linking = await tx.find(InstanceRow, workload_id=In(sources), gone_at=None) if sources else []
    ids = tuple(sorted({f"{row.workload_id}-{row.revision}" for row in linking}))
    revisions = await tx.find(RevisionRow, id=In(ids)) if ids else []
    members = await members_of(tx, [*instances, *linking])
    return LinkGround(
        workload=workload,
        instances=[row for row in instances if row.node_id is None or row.node_id in members],
        linking=[row for row in linking if row.node_id in members],
        ports={(row.workload_id, row.number): ports_to(target, row.run) for row in revisions},
    )
