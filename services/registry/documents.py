"""Brings the desired documents of nodes up to date: dirty rows are rendered, what changed gets a generation and is published.

Only the relay runs this.  A crash between commit and publish costs nothing: what is not published is published by the next round, and the
bus keeps only what is newer by (era, generation).  A document that cannot be made or sent is told as a fact
and tried again, and the other nodes get theirs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from loguru import logger

from lattice.contracts.catalogue import DESIRED_DOCUMENT
from lattice.contracts.messages import DesiredDocument
from lattice.contracts.nouns import DesiredState, Membership
from lattice.errors import LatticeError, Temporary
from lattice.messaging import Bus
from lattice.storage import In, Transaction
from services.registry.change import SYSTEM, Change, Deps
from services.registry.job_runs import requests_on
from services.registry.rendering import NodePlan, check_size, content, render, wanted_secrets
from services.registry.tables import ClusterRow, InstanceRow, NodeRow, RevisionRow, VolumeRow
from services.registry.vault import Vault


@dataclass(frozen=True, slots=True)
class Documents:
    """Renders and publishes the documents of all nodes."""

    deps: Deps
    vault: Vault
    bus: Bus
    ingresses: tuple[str, ...] = ()
    _told: dict[str, str] = field(default_factory=dict)

    async def render_dirty(self, *, limit: int = 100) -> int:
        """Render the documents of nodes whose rows changed; returns how many nodes were looked at."""
        async with self.deps.store.transaction() as tx:
            dirty = await tx.find(NodeRow, document_dirty=True, removed_at=None, limit=limit)
        await self._each(dirty, self._render)
        return len(dirty)

    async def _each(self, nodes: Iterable[NodeRow], act: Callable[[NodeRow], Awaitable[None]]) -> None:
        """One after the other; what is wrong with one node's document is not in the way of the others'."""
        for node in nodes:
            try:
                await act(node)
                self._told.pop(node.id, None)
            except Temporary:
                raise
            except (LatticeError, ValueError) as error:
                await self._tell(node, error.detail if isinstance(error, LatticeError) else str(error))

    async def _tell(self, node: NodeRow, reason: str) -> None:
        """Say once why a node does not get its newest document."""
        if self._told.get(node.id) == reason:
            return
        self._told[node.id] = reason
        logger.error("node {} does not get its newest document: {}", node.name, reason)
        async with self.deps.change(SYSTEM, action="document.publish") as change:
            change.fact(
                "node", "document_refused", entity_id=node.id, entity_name=node.name, data={"reason": reason}
            )

    async def _render(self, found: NodeRow) -> None:
        async with self.deps.store.transaction() as tx:
            change = Change(tx, SYSTEM, "document.render", self.deps.now(), self.deps.new_id)
            node = await tx.get(NodeRow, found.id, lock=True)
            if node is None:
                return
            plan = await self._plan(tx, node)
            document = render(plan, node.generation + 1)
            if node.document is not None and content(
                DesiredDocument.model_validate(node.document)
            ) == content(document):
                tx.update(node, document_dirty=False)
                return
            check_size(document)
            tx.update(
                node,
                document_dirty=False,
                document_unpublished=True,
                document=document.model_dump(mode="json"),
                generation=document.generation,
            )
            _mark_tombstones(change, plan, document.generation)

    async def _plan(self, tx: Transaction, node: NodeRow) -> NodePlan:
        cluster = await tx.get(ClusterRow, 1)
        if cluster is None:
            raise AssertionError("the cluster row is made at the first start")
        instances = await tx.find(InstanceRow, node_id=node.id, gone_at=None)
        ids = tuple(sorted({f"{row.workload_id}-{row.revision}" for row in instances}))
        rows = await tx.find(RevisionRow, id=In(ids)) if ids else []
        revisions = {(row.workload_id, row.number): row for row in rows}
        sealed = await self.vault.sealed_for(tx, node, wanted_secrets(instances, revisions))
        doomed = await tx.find(VolumeRow, node_id=node.id, removing=True, removed_at=None)
        volumes = [volume.id for volume in doomed if not _in_use(volume.id, instances, revisions)]
        return NodePlan(
            cluster.cluster_id,
            cluster.era,
            node.id,
            instances,
            revisions,
            sealed,
            volumes,
            await requests_on(tx, instances, revisions),
            node.runs_known,
            node.pool,
            self.ingresses,
        )

    async def publish_new(self, *, limit: int = 100) -> int:
        """Publish the documents that were rendered and not yet published; returns how many."""
        async with self.deps.store.transaction() as tx:
            nodes = await tx.find(
                NodeRow, membership=Membership.APPROVED, document_unpublished=True, limit=limit
            )
        await self._each(nodes, self._publish)
        return len(nodes)

    async def publish_all(self) -> None:
        """Publish every document again: after a connect, when nobody knows what the bus has lost."""
        async with self.deps.store.transaction() as tx:
            nodes = await tx.find(NodeRow, membership=Membership.APPROVED, removed_at=None)
        await self._refresh_addresses(nodes)
        await self._each((node for node in nodes if node.document is not None), self._publish)
        logger.info("published the documents of {} nodes again", len(nodes))

    async def _refresh_addresses(self, nodes: Iterable[NodeRow]) -> None:
        """Where the ingresses are is a setting: documents from before it changed are rendered again."""
        stale = [
            node.id for node in nodes if (node.document or {}).get("ingresses", []) != list(self.ingresses)
        ]
        async with self.deps.store.transaction() as tx:
            for node in await tx.find(NodeRow, id=In(tuple(stale)), lock=True) if stale else ():
                tx.update(node, document_dirty=True)

    async def _publish(self, node: NodeRow) -> None:
        document = DesiredDocument.model_validate(node.document)
        await self.bus.append_newest(DESIRED_DOCUMENT, document, order=lambda it: it.order, node_id=node.id)
        async with self.deps.store.transaction() as tx:
            row = await tx.get(NodeRow, node.id, lock=True)
            if row is not None and row.generation == document.generation:
                tx.update(row, document_unpublished=False)


def _in_use(
    volume_id: str, instances: list[InstanceRow], revisions: dict[tuple[str, int], RevisionRow]
) -> bool:
    """Whether a container that is not gone yet may still write to the volume."""
    return any(
        volume["volume_id"] == volume_id
        for row in instances
        for volume in revisions[row.workload_id, row.revision].run.get("volumes", [])
    )


def _mark_tombstones(change: Change, plan: NodePlan, generation: int) -> None:
    """Remember from which generation on a document ordered an instance gone: only a report on it or a newer one proves that it is."""
    for row in plan.instances:
        if row.desired == DesiredState.REMOVED and row.tombstone_generation is None:
            change.tx.update(row, tombstone_generation=generation)
