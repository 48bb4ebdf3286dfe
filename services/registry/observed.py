"""Takes in what agents report: the newest observed document of a node, and single events that no state shows any more."""

from __future__ import annotations

from lattice.contracts.messages import PLATFORM, NodeEvent, ObservedDocument
from lattice.messaging import Received
from services.registry.change import SYSTEM, Deps
from services.registry.folding import fold_document
from services.registry.observed_order import apply_node_report
from services.registry.tables import InstanceRow, NodeRow


async def take_observed(deps: Deps, received: Received[ObservedDocument]) -> None:
    """Fold one document; one that is older than what is known, or of no node of ours, changes nothing."""
    document = received.message
    async with deps.change(SYSTEM, action="node.report") as change:
        node = await change.tx.get(NodeRow, document.node_id, lock=True)
        if node is not None and apply_node_report(change, node, document):
            await fold_document(change, node, document)


async def take_event(deps: Deps, received: Received[NodeEvent]) -> None:
    """Turn what happened on a node into a fact, under the node's own name."""
    event = received.message
    async with deps.change(SYSTEM, action="node.event") as change:
        node = await change.tx.get(NodeRow, event.node_id)
        if node is None:
            return
        project, name = PLATFORM, node.name
        if event.key is not None:
            rows = await change.tx.find(
                InstanceRow,
                workload_id=event.key.workload_id,
                slot=event.key.slot,
                epoch=event.key.epoch,
                node_id=node.id,
            )
            if rows:
                project, name = rows[0].project, rows[0].workload_name
        data = event.data | {"detail": event.detail, "at": event.at.isoformat()}
        change.fact("node", event.type, entity_id=node.id, entity_name=name, project=project, data=data)
