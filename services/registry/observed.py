"""Takes in what agents report: the newest observed document of a node, and single events that no state shows any more."""

from __future__ import annotations

from hashlib import sha256

from lattice.contracts.messages import PLATFORM, NodeEvent, ObservedDocument
from lattice.errors import Invalid
from lattice.messaging import Received
from services.registry.change import SYSTEM, Deps
from services.registry.folding import fold_document
from services.registry.following import follow_up
from services.registry.observed_order import apply_node_report
from services.registry.tables import FactRow, InstanceRow, NodeRow


async def take_observed(deps: Deps, received: Received[ObservedDocument]) -> None:
    """Fold one document; one that is older than what is known, or of no node of ours, changes nothing.

    The bus vouches for the node in the subject only: Invalid if the document names another one.
    """
    document = received.message
    if document.node_id != received.tokens["node_id"]:
        raise Invalid(
            f"A report on {received.subject} speaks of {document.node_id}: a node speaks for itself only."
        )
    touched: list[str] = []
    async with deps.change(SYSTEM, action="node.report") as change:
        node = await change.tx.get(NodeRow, document.node_id, lock=True)
        if node is not None and apply_node_report(change, node, document):
            touched = await fold_document(change, node, document)
    await follow_up(deps, touched, heard=document.node_id)


async def take_event(deps: Deps, received: Received[NodeEvent]) -> None:
    """Turn what happened on a node into a fact, under the node's own name; once, however often it is delivered."""
    event, fact_id = received.message, _fact_id(received)
    if {"node_id": event.node_id, "type": event.type} != received.tokens:
        raise Invalid(f"An event on {received.subject} speaks of {event.node_id} and {event.type!r}.")
    async with deps.change(SYSTEM, action="node.event") as change:
        node = await change.tx.get(NodeRow, event.node_id)
        if node is None or await change.tx.get(FactRow, fact_id) is not None:
            return
        project, name, workload_id = PLATFORM, node.name, None
        about = {"node": node.name}
        if event.key is not None:
            rows = await change.tx.find(
                InstanceRow,
                workload_id=event.key.workload_id,
                slot=event.key.slot,
                epoch=event.key.epoch,
                node_id=node.id,
            )
            if rows:
                project, name, workload_id = rows[0].project, rows[0].workload_name, rows[0].workload_id
                about |= {"workload_id": workload_id, "instance": rows[0].id}
        data = event.data | about | {"detail": event.detail, "at": event.at.isoformat()}
        change.fact(
            "node",
            event.type,
            entity_id=node.id,
            entity_name=name,
            workload_id=workload_id,
            project=project,
            cause=event.detail,
            data=data,
            fact_id=fact_id,
        )


def _fact_id(received: Received[NodeEvent]) -> str:
    """The same for each delivery of one event, and never that of another node's."""
    told = f"{received.tokens['node_id']}/{received.msg_id or received.message.model_dump_json()}"
    return f"fa-{sha256(told.encode()).hexdigest()[:26]}"
