"""How a machine becomes a node, seen from the machine: ask with a join token, wait for the admin, fetch credentials, renew them.

After the join token was used, a machine proves each request with a signature by its own bus key (see `node_proof`).
"""

from __future__ import annotations

from datetime import datetime

from lattice import nkey, pki, sealing
from lattice.contracts.catalogue import GET_ENROLMENT, RENEW_NODE
from lattice.contracts.messages import (
    Caller,
    Enrolment,
    GetEnrolment,
    NodeCredentials,
    NodeProof,
    NodeRegistered,
    RegisterNode,
    RenewNode,
)
from lattice.contracts.nouns import Liveness, Membership
from lattice.errors import Conflict, Forbidden, Gone, NotFound
from lattice.join_token import read_join_token
from lattice.storage import Transaction
from services.registry.change import Change
from services.registry.enrolment_rules import Entitlement, entitlement
from services.registry.join_tokens import check_token, read_token_row
from services.registry.node_deps import NodeDeps
from services.registry.node_proof import check_proof
from services.registry.node_rows import write_node
from services.registry.node_views import reason_of
from services.registry.tables import JoinTokenRow, NodeRow

LAPSED_REASON = "its credentials expired too long ago: approve it again to let it back in"


# --- asking ------------------------------------------------------------------------------------------------


async def register_node(deps: NodeDeps, request: RegisterNode) -> NodeRegistered:
    """Take a machine's request for membership; it is pending and has no power.

    Repeating the same request (an answer that was lost) gives the same answer.
    """
    token = read_join_token(request.token)
    fingerprint = check_keys(request)
    caller = Caller(actor=f"machine:{request.name}", request_id=request.request_id)
    async with deps.change(caller, action="node.register") as change:
        await change.tx.lock("node-names")
        row = await read_token_row(change.tx, token)
        node = await _asked_before(change.tx, row, fingerprint)
        if node is None:
            row = check_token(row, change.now)
            await _check_free(change.tx, request)
            node = _add_node(change, request, row, fingerprint)
    return NodeRegistered(node_id=node.id, fingerprint=node.fingerprint)


def check_keys(request: RegisterNode) -> str:
    """The fingerprint of a machine's public keys.  Raises Invalid if one of them cannot be used."""
    nkey.check_user_key(request.nkey)
    sealing.check_public_key(request.sealing_key)
    return pki.enrolment_fingerprint(
        request.csr_pem.encode(), nkey=request.nkey, sealing_key=request.sealing_key
    )


async def _asked_before(tx: Transaction, row: JoinTokenRow | None, fingerprint: str) -> NodeRow | None:
    if row is None or row.used_by is None:
        return None
    node = await tx.get(NodeRow, row.used_by)
    same = node is not None and node.fingerprint == fingerprint and node.removed_at is None
    return node if same else None


async def _check_free(tx: Transaction, request: RegisterNode) -> None:
    for node in await tx.find(NodeRow, name=request.name, removed_at=None, limit=1):
        raise Conflict(
            f"There is already a node named {request.name} ({node.id}, {node.membership}). If this is the same "
            f"machine joining again, remove the old one first (`lattice node rm {request.name}`); otherwise join "
            "under another name (`--name`)."
        )
    for node in await tx.find(NodeRow, nkey=request.nkey, removed_at=None, limit=1):
        raise Conflict(
            f"The keys of this machine belong to the node {node.name} already. If its disk was copied, delete the "
            "agent's data directory on the copy and join again; it then makes keys of its own."
        )


def _add_node(change: Change, request: RegisterNode, token: JoinTokenRow, fingerprint: str) -> NodeRow:
    node = change.tx.add(
        NodeRow(
            id=change.new_id("nd"),
            name=request.name,
            membership=Membership.PENDING.value,
            liveness=Liveness.JOINING.value,
            pool=token.pool,
            labels=token.labels,
            inventory=request.inventory.model_dump(mode="json"),
            fingerprint=fingerprint,
            nkey=request.nkey,
            sealing_key=request.sealing_key,
            csr_pem=request.csr_pem,
            join_token_id=token.id,
            created_at=change.now,
        )
    )
    change.tx.update(token, used_at=change.now, used_by=node.id)
    _say(change, node, "registered", fingerprint=fingerprint, join_token=token.id)
    if token.auto_approve:
        write_node(change, node, membership=Membership.APPROVED.value, decided_at=change.now)
        _say(change, node, "approved", fingerprint=fingerprint, approved_by=token.created_by)
    return node


def _say(change: Change, node: NodeRow, verb: str, **data: str) -> None:
    change.fact("node", verb, entity_id=node.id, entity_name=node.name, data=data)
    change.audit("node", node.id, entity_name=node.name, after={"membership": node.membership, **data})


# --- waiting, fetching, renewing ---------------------------------------------------------------------------


async def get_enrolment(deps: NodeDeps, request: GetEnrolment) -> Enrolment:
    """Where the enrolment stands; with credentials once it is approved."""
    async with deps.change(_node(request.proof), action="node.enrol") as change:
        node = await _proven(deps, change, request.proof, purpose=GET_ENROLMENT.name, body=b"")
        return _answer(deps, change, node, _entitlement(deps, node, change.now))


async def renew_node(deps: NodeDeps, request: RenewNode) -> Enrolment:
    """New credentials, for the key in the request (which may be another than before).

    Raises Forbidden with `data["state"]` when the node is not, or no more, entitled to any.
    """
    async with deps.change(_node(request.proof), action="node.renew") as change:
        body = request.csr_pem.encode()
        node = await _proven(deps, change, request.proof, purpose=RENEW_NODE.name, body=body)
        found = _entitlement(deps, node, change.now)
        if found is Entitlement.ENTITLED:
            pki.read_request(body)
            node = write_node(change, node, csr_pem=request.csr_pem)
        answer = _answer(deps, change, node, found)
    if answer.credentials is None:
        raise Forbidden(_refusal(node, answer), data={"state": answer.state})
    return answer


def _refusal(node: NodeRow, answer: Enrolment) -> str:
    return (
        f"Node {node.name} gets no new credentials: it is {answer.state}; {answer.reason or 'ask an admin'}."
    )


def _node(proof: NodeProof) -> Caller:
    return Caller(actor=f"node:{proof.node_id}")


def _entitlement(deps: NodeDeps, node: NodeRow, now: datetime) -> Entitlement:
    return entitlement(
        Membership(node.membership),
        expired_at=node.certificate_expires_at,
        approved_at=node.decided_at,
        now=now,
        renewal_window=deps.settings.renewal_window,
    )


def is_lapsed(deps: NodeDeps, node: NodeRow, now: datetime) -> bool:
    """Whether the node was away for so long that an admin must approve it again."""
    return _entitlement(deps, node, now) is Entitlement.LAPSED


def _answer(deps: NodeDeps, change: Change, node: NodeRow, found: Entitlement) -> Enrolment:
    if found is Entitlement.LAPSED:
        _flag_lapsed(change, node)
    credentials = _issue(deps, change, node) if found is Entitlement.ENTITLED else None
    state = Membership.APPROVED.value if credentials else found.value
    return Enrolment(
        node_id=node.id,
        state=state,
        fingerprint=node.fingerprint,
        reason="" if credentials else reason_of(node),
        credentials=credentials,
    )


def _flag_lapsed(change: Change, node: NodeRow) -> None:
    if node.reason != LAPSED_REASON:
        write_node(change, node, reason=LAPSED_REASON)
        change.fact("node", "lapsed", entity_id=node.id, entity_name=node.name)


def _issue(deps: NodeDeps, change: Change, node: NodeRow) -> NodeCredentials:
    credentials = deps.issuer.node_credentials(
        node.id, csr_pem=node.csr_pem, nkey=node.nkey, now=change.now, lifetime=deps.settings.credential_ttl
    )
    before = {"certificate_expires_at": _text(node.certificate_expires_at)}
    write_node(change, node, certificate_expires_at=credentials.expires_at)
    after = {"certificate_expires_at": _text(credentials.expires_at)}
    change.fact("node", "credentials_issued", entity_id=node.id, entity_name=node.name, data=after)
    change.audit("node", node.id, entity_name=node.name, before=before, after=after)
    return credentials


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


async def _proven(deps: NodeDeps, change: Change, proof: NodeProof, *, purpose: str, body: bytes) -> NodeRow:
    """The node that made the request.  Raises NotFound, Unauthenticated, or Gone if it was removed."""
    node = await change.tx.get(NodeRow, proof.node_id, lock=True)
    if node is None:
        raise NotFound(f"There is no node {proof.node_id} here: join again with a new token.")
    check_proof(
        proof, node.nkey, purpose=purpose, body=body, now=change.now, tolerance=deps.settings.clock_tolerance
    )
    if node.removed_at is not None:
        raise Gone(f"The node {node.name} was removed: join again with a new token.")
    return node
