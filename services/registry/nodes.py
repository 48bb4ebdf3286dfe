"""What people do with nodes: approve, reject, revoke, cordon, drain, label, remove, look.

Each command loads the node with a lock, asks `enrolment_rules` whether it may be done, and writes rows, fact and audit row together.  A
command that is done already answers with the node as it is and leaves no trace.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from lattice.contracts.messages import Caller, Done, DrainNode, GetByName, ListNodes, NodeCommand, UpdateNode
from lattice.contracts.nouns import Amounts, Inventory, Liveness, Membership, NodeState
from lattice.contracts.views import Accepted, BlockerView, Listing, NodeView
from lattice.errors import Conflict, FieldError, Invalid, StaleVersion
from lattice.paging import page_of
from lattice.storage import In, Transaction
from services.registry import drains, operations
from services.registry.change import Change
from services.registry.enrolment import is_lapsed
from services.registry.enrolment_rules import Act, Ruling, Standing, rule
from services.registry.following import follow_up
from services.registry.idempotency import remember, replay
from services.registry.join_tokens import check_labels
from services.registry.node_deps import NodeDeps
from services.registry.node_removal import forget, secrets_on
from services.registry.node_rows import find_node, instances_on, reserved_by, write_node
from services.registry.node_views import node_view, where_state
from services.registry.operations import Kind
from services.registry.tables import NodePresenceRow, NodeRow

_SHOWN = ("membership", "cordoned", "draining", "labels", "pool")


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A node that is locked, and the ruling about what is asked."""

    change: Change
    node: NodeRow
    ruling: Ruling


_Apply = Callable[[_Loaded], Awaitable[None]]


# --- commands ----------------------------------------------------------------------------------------------


async def approve_node(deps: NodeDeps, request: NodeCommand) -> NodeView:
    """Make a pending machine a node, or let one back in that was away for too long."""

    async def apply(loaded: _Loaded) -> None:
        columns = {"membership": Membership.APPROVED.value, "decided_at": loaded.change.now, "reason": ""}
        _write(loaded, "approved", columns, fingerprint=loaded.node.fingerprint)

    return await _command(deps, request.caller, request.node, Act.APPROVE, apply)


async def reject_node(deps: NodeDeps, request: NodeCommand) -> NodeView:
    """Refuse a pending machine."""

    async def apply(loaded: _Loaded) -> None:
        columns = {
            "membership": Membership.REJECTED.value,
            "decided_at": loaded.change.now,
            "reason": request.reason,
        }
        _write(loaded, "rejected", columns, reason=request.reason)

    return await _command(deps, request.caller, request.node, Act.REJECT, apply)


async def revoke_node(deps: NodeDeps, request: NodeCommand) -> NodeView:
    """Take a node's membership away; its link is cut at once and refused from then on.

    The fact names the secrets that the node could read: they should be changed.
    """

    async def apply(loaded: _Loaded) -> None:
        columns = {
            "membership": Membership.REVOKED.value,
            "liveness": Liveness.UNREACHABLE.value,
            "lost_since": loaded.change.now,
            "decided_at": loaded.change.now,
            "reason": request.reason,
        }
        secrets = await secrets_on(loaded.change.tx, loaded.node.id)
        _write(loaded, "revoked", columns, reason=request.reason, secrets_to_change=secrets)

    view = await _command(deps, request.caller, request.node, Act.REVOKE, apply)
    await deps.cut_links()
    async with deps.deps.store.transaction() as tx:
        touched = {row.workload_id for row in await instances_on(tx, [view.id])}
    await follow_up(deps.deps, touched)  # nobody is led there any more
    return view


async def cordon_node(deps: NodeDeps, request: NodeCommand) -> NodeView:
    """Accept no new work on a node; what runs there stays."""

    async def apply(loaded: _Loaded) -> None:
        _write(loaded, "cordoned", {"cordoned": True, "reason": request.reason}, reason=request.reason)

    return await _command(deps, request.caller, request.node, Act.CORDON, apply)


async def uncordon_node(deps: NodeDeps, request: NodeCommand) -> NodeView:
    """Accept new work again."""

    async def apply(loaded: _Loaded) -> None:
        await operations.supersede(loaded.change, loaded.node.id, by=Kind.UNCORDON)
        _write(loaded, "uncordoned", {"cordoned": False, "draining": False, "reason": ""})

    return await _command(deps, request.caller, request.node, Act.UNCORDON, apply)


async def drain_node(deps: NodeDeps, request: DrainNode) -> Accepted:
    """Take no new work and move what is there; the operation tells how far it is, and what cannot be moved."""
    async with deps.change(request.caller, action="node.drain") as change:
        if answered := await replay(change.tx, request.caller, Accepted):
            return answered
        loaded = await _load(deps, change, request.node, Act.DRAIN)
        columns = {"cordoned": True, "draining": True, "reason": request.reason}
        _write(loaded, "draining", columns, reason=request.reason)
        operation = await drains.begin(change, loaded.node, takes=timedelta(seconds=request.deadline_s))
        (view,) = await _views(change.tx, [loaded.node])
        return remember(change, Accepted(operation=operations.operation_view(operation), node=view))


async def confirm_lost(deps: NodeDeps, request: NodeCommand) -> NodeView:
    """People say that a node will not come back soon: its stateless work moves now, whatever else is suspected."""

    async def apply(loaded: _Loaded) -> None:
        if loaded.node.lost_since is None:
            raise Conflict(
                f"Node {loaded.node.name} can be reached; to move its work: lattice node drain {loaded.node.name}"
            )
        _write(loaded, "loss_confirmed", {"loss_confirmed": True}, reason=request.reason)

    return await _command(deps, request.caller, request.node, Act.CONFIRM_LOST, apply)


async def update_node(deps: NodeDeps, request: UpdateNode) -> NodeView:
    """Replace all labels, or the pool, or both."""
    if request.labels is None and request.pool is None:
        raise Invalid("Nothing to change: give `labels`, `pool` or both.")
    check_labels(request.labels or {})
    columns = {
        name: value
        for name, value in (("labels", request.labels), ("pool", request.pool))
        if value is not None
    }

    async def apply(loaded: _Loaded) -> None:
        if any(getattr(loaded.node, name) != value for name, value in columns.items()):
            _check_owner(loaded.node, request.pool)
            if request.pool is not None:  # the node's document tells its pool
                loaded.change.tx.update(loaded.node, document_dirty=True)
            _write(loaded, "updated", columns, **columns)

    return await _command(deps, request.caller, request.node, Act.UPDATE, apply)


def _check_owner(node: NodeRow, pool: str | None) -> None:
    policy = Inventory.model_validate(node.inventory).policy
    if pool is not None and policy is not None and policy.pools is not None and pool not in policy.pools:
        allowed = " or ".join(policy.pools)
        detail = f"its owner allows only pool {allowed} ({policy.file} on the node)"
        raise Conflict(f"Node {node.name} cannot be moved to pool {pool}: {detail}.")


async def remove_node(deps: NodeDeps, request: NodeCommand) -> Done:
    """Forget a node.  One that is still a member must be empty; its credentials are worth nothing from now on."""
    async with deps.change(request.caller, action="node.remove") as change:
        if answered := await replay(change.tx, request.caller, Done):
            return answered
        loaded = await _load(deps, change, request.node, Act.REMOVE)
        touched = await forget(change, loaded.node)
        remember(change, Done())
    await follow_up(deps.deps, touched)
    await deps.cut_links()
    return Done()


async def _command(deps: NodeDeps, caller: Caller, ref: str, act: Act, apply: _Apply) -> NodeView:
    async with deps.change(caller, action=f"node.{act}") as change:
        if answered := await replay(change.tx, caller, NodeView):
            return answered
        loaded = await _load(deps, change, ref, act)
        if loaded.ruling is Ruling.ALLOWED:
            await apply(loaded)
        (view,) = await _views(change.tx, [loaded.node])
        return remember(change, view)


async def _load(deps: NodeDeps, change: Change, ref: str, act: Act) -> _Loaded:
    node = await find_node(change.tx, ref, lock=True)
    _check_version(change.caller, node)
    standing = Standing(
        name=node.name,
        membership=Membership(node.membership),
        cordoned=node.cordoned,
        draining=node.draining,
        lapsed=is_lapsed(deps, node, change.now),
        instances=len(await instances_on(change.tx, [node.id])) if act is Act.REMOVE else 0,
    )
    return _Loaded(change, node, rule(act, standing))


def _check_version(caller: Caller, node: NodeRow) -> None:
    if caller.if_match not in (None, "*", f'"{node.version}"', str(node.version)):
        raise StaleVersion(
            f"Node {node.name} changed meanwhile: it is at version {node.version}. Look again, then repeat."
        )


def _write(loaded: _Loaded, verb: str, columns: dict[str, Any], **data: Any) -> None:
    change, node = loaded.change, loaded.node
    before = {name: getattr(node, name) for name in _SHOWN}
    write_node(change, node, **columns)
    change.fact("node", verb, entity_id=node.id, entity_name=node.name, data=data)
    after = {name: getattr(node, name) for name in _SHOWN} | data
    change.audit("node", node.id, entity_name=node.name, before=before, after=after)


# --- looking -----------------------------------------------------------------------------------------------


async def get_node(deps: NodeDeps, request: GetByName) -> NodeView:
    """One node by id or name."""
    async with deps.deps.store.transaction() as tx:
        node = await find_node(tx, request.ref)
        (view,) = await _views(tx, [node])
        left = drains.blockers_of(await drains.left_on(tx, node.id)) if node.draining else {}
        blockers = tuple(BlockerView(workload=name, reason=why) for name, why in left.items())
        return view.model_copy(update={"blockers": blockers})


async def list_nodes(deps: NodeDeps, request: ListNodes) -> Listing[NodeView]:
    """Nodes, the newest first, pending ones included; of one state if asked."""
    where = where_state(_state(request.state)) if request.state else {}
    async with deps.deps.store.transaction() as tx:
        rows, next_page = await page_of(tx, NodeRow, request, removed_at=None, **where)
        return Listing(items=tuple(await _views(tx, rows)), next_page_token=next_page)


def _state(word: str) -> NodeState:
    try:
        return NodeState(word)
    except ValueError as error:
        detail = f"{word!r} is not a state of a node: use one of {', '.join(NodeState)}"
        raise Invalid(f"{detail}.", errors=[FieldError(pointer="/state", detail=detail)]) from error


async def _views(tx: Transaction, nodes: Sequence[NodeRow]) -> list[NodeView]:
    node_ids = tuple(node.id for node in nodes)
    reserved = reserved_by(await instances_on(tx, node_ids))
    presence = {row.id: row for row in await tx.find(NodePresenceRow, id=In(node_ids))}
    return [node_view(node, presence.get(node.id), reserved.get(node.id, Amounts())) for node in nodes]
