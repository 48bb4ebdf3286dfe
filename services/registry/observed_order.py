"""Which observed document of a node is the newest, and what it says about the node itself.

A node counts its documents, and keeps a session number that it raises, durably, before each connection.  A higher session is a takeover:
the newest wins.  The same session under another boot id is two machines with one identity (a copied disk): the newcomer is refused, and
the node is flagged for people to look at.  What concerns the containers in the document is folded elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lattice.contracts.messages import ObservedDocument
from lattice.contracts.nouns import Liveness, Membership
from lattice.errors import Invalid
from services.registry.change import Change
from services.registry.node_rows import become, note_docker_problem, write_node
from services.registry.tables import NodeRow

CLONE_SUSPECTED = "two machines use its identity"


class Order(StrEnum):
    """How a document stands to the newest one known."""

    NEWER = "newer"
    TAKEOVER = "takeover"
    OLD = "old"
    CLONE = "clone"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a document comes from; a node that was never heard has no boot id."""

    boot_id: str
    session: int
    counter: int


def order(known: Source, found: Source) -> Order:
    """How `found` stands to `known`; both are of one node."""
    if not known.boot_id:
        return Order.NEWER
    if found.session > known.session:
        return Order.TAKEOVER
    if found.boot_id != known.boot_id:
        return Order.CLONE
    newer = found.session == known.session and found.counter > known.counter
    return Order.NEWER if newer else Order.OLD


def is_newer(known: Source, document: ObservedDocument) -> bool:
    """Whether the document replaces what is known."""
    return order(known, source_of(document)) in (Order.NEWER, Order.TAKEOVER)


def source_of(document: ObservedDocument) -> Source:
    return Source(document.boot_id, document.session, document.counter)


def known_source(node: NodeRow) -> Source:
    return Source(node.boot_id, node.session, node.observed_counter)


def apply_node_report(change: Change, node: NodeRow, document: ObservedDocument) -> bool:
    """Take in what the document says of the node itself (read with a lock); whether its containers are to be folded as well.

    Where it answers False the change must be committed all the same: a refused newcomer leaves a fact.  Raises Invalid if the document
    is another node's.
    """
    if document.node_id != node.id:
        raise Invalid(f"Node {node.id} reported as {document.node_id}: a node speaks for itself only.")
    if node.membership != Membership.APPROVED or node.removed_at is not None:
        return False
    found = order(known_source(node), source_of(document))
    if found is Order.CLONE:
        _flag_clone(change, node, document)
    if found in (Order.OLD, Order.CLONE):
        return False
    _take_in(change, node, document, takeover=found is Order.TAKEOVER)
    return True


def _take_in(change: Change, node: NodeRow, document: ObservedDocument, *, takeover: bool) -> None:
    write_node(
        change,
        node,
        boot_id=document.boot_id,
        session=document.session,
        observed_counter=document.counter,
        observed_era=document.era,
        observed_generation=document.generation,
    )
    note_docker_problem(change, node, document.docker_problem)
    if takeover and node.reason.startswith(CLONE_SUSPECTED):
        write_node(change, node, reason="")
    if document.complete:  # else the Engine could not be listed, and what is missing means nothing
        write_node(
            change,
            node,
            observed_at=change.now,
            inventory=document.inventory.model_dump(mode="json"),
            agent_version=document.inventory.agent_version,
            quarantined=[found.model_dump(mode="json") for found in document.quarantined],
        )
        node_became_ready(change, node)


def node_became_ready(change: Change, node: NodeRow) -> None:
    """The node has reported everything that it has."""
    become(change, node, Liveness.READY, cause="observed document")


def _flag_clone(change: Change, node: NodeRow, document: ObservedDocument) -> None:
    """Said once per newcomer; it stays flagged until the owner restarts the right agent, which then takes over."""
    reason = (
        f"{CLONE_SUSPECTED}: the reports of boot {document.boot_id} are refused; "
        "end the agent that does not belong here, then start the node's own again"
    )
    if node.reason == reason:
        return
    write_node(change, node, reason=reason)
    data = {
        "accepted": {"boot_id": node.boot_id, "session": node.session},
        "refused": {"boot_id": document.boot_id, "session": document.session},
    }
    change.fact("node", "clone_suspected", entity_id=node.id, entity_name=node.name, data=data)
