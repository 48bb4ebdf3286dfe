"""Nodes, and how machines become nodes."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Body, Header, Query
from pydantic import AwareDatetime
from starlette.responses import Response

from lattice.contracts import catalogue
from lattice.contracts.catalogue import Rpc
from lattice.contracts.messages import (
    CreateJoinToken,
    DrainNode,
    Enrolment,
    Fact,
    GetByName,
    GetEnrolment,
    ListFacts,
    ListNodes,
    NodeCommand,
    NodeProof,
    NodeRegistered,
    RegisterNode,
    RenewNode,
    UpdateNode,
)
from lattice.contracts.nouns import NodeState
from lattice.contracts.views import Accepted, JoinTokenView, Listing, NodeView
from lattice.storage import Transaction
from services.gateway.answers import accepted, answer, nothing, versioned
from services.gateway.call import Call, CurrentCall, GuardedRoute
from services.gateway.idempotency import once
from services.gateway.names import Ref
from services.gateway.routes.paging import PageOf
from services.gateway.schemas import (
    CreateJoinTokenBody,
    DrainBody,
    ForTheRecord,
    RegisterNodeBody,
    RenewNodeBody,
    UpdateNodeBody,
)
from services.gateway.throttle import REGISTRATIONS_PER_ADDRESS

router = APIRouter(route_class=GuardedRoute, tags=["nodes"])

PEM = "application/x-pem-file"
SignedAt = Annotated[
    AwareDatetime, Header(alias="Lattice-Signed-At", description="when the node signed; RFC 3339")
]
Signature = Annotated[str, Header(alias="Lattice-Signature", max_length=120, description="base64 Ed25519")]
Reason = Annotated[ForTheRecord, Body()]


@router.get(
    "/v1/ca", response_class=Response, responses={200: {"content": {PEM: {"schema": {"type": "string"}}}}}
)
async def ca(call: CurrentCall) -> Response:
    """The root certificate that clients and agents are to trust, once its fingerprint is known to be right."""
    pem = await asyncio.to_thread(call.gateway.settings.ca_file.read_bytes)
    return Response(pem, media_type=PEM)


@router.post("/v1/join-tokens", status_code=201, response_model=JoinTokenView)
async def create_join_token(call: CurrentCall, body: CreateJoinTokenBody) -> Response:
    """A single-use right to ask for membership, with the command to run on the new machine."""
    request = CreateJoinToken(
        caller=call.caller, gateway_url=call.gateway.settings.public_url, **body.model_dump()
    )

    async def create(_: Transaction) -> JoinTokenView:
        created = await call.ask(catalogue.CREATE_JOIN_TOKEN, request)
        return JoinTokenView(**created.model_dump(), command=f"lattice node join {created.token}")

    # The gateway keeps the answer, sealed: the registry does not know the token's text either.
    gateway = call.gateway
    view = await once(
        gateway.store, call.caller, gateway.clock.now(), call.authorization, JoinTokenView, create
    )
    return answer(view, status=201)


@router.post("/v1/nodes/register", status_code=201, response_model=NodeRegistered)
async def register(call: CurrentCall, body: RegisterNodeBody) -> Response:
    """A machine asks for membership with a join token."""
    await call.gateway.throttle.count(REGISTRATIONS_PER_ADDRESS, "register", call.address)
    request = RegisterNode(**dict(body), request_id=call.request_id)
    async with call.refusals_kept("node.register_refused", "node", body.name):
        registered = await call.ask(catalogue.REGISTER_NODE, request)
    location = {"Location": f"/v1/nodes/register/{registered.node_id}"}
    return answer(registered, status=201, headers=location)


@router.get("/v1/nodes/register/{id}", response_model=Enrolment)
async def enrolment(call: CurrentCall, ref: Ref, signed_at: SignedAt, signature: Signature) -> Response:
    """Where an enrolment stands; the credentials once it is approved.  The machine signs with its own key."""
    await call.gateway.throttle.count(REGISTRATIONS_PER_ADDRESS, "enrolment", call.address)
    proof = NodeProof(node_id=ref, signed_at=signed_at, signature=signature)
    return answer(await call.ask(catalogue.GET_ENROLMENT, GetEnrolment(proof=proof)))


@router.post("/v1/nodes/{id}/renew", response_model=Enrolment)
async def renew(
    call: CurrentCall, ref: Ref, signed_at: SignedAt, signature: Signature, body: RenewNodeBody
) -> Response:
    """A new certificate and JWT for a node that signs with its own key."""
    await call.gateway.throttle.count(REGISTRATIONS_PER_ADDRESS, "renew", call.address)
    proof = NodeProof(node_id=ref, signed_at=signed_at, signature=signature)
    return answer(await call.ask(catalogue.RENEW_NODE, RenewNode(proof=proof, csr_pem=body.csr_pem)))


@router.get("/v1/nodes", response_model=Listing[NodeView])
async def list_nodes(call: CurrentCall, page: PageOf, state: NodeState | None = None) -> Response:
    """All nodes, and the machines that ask to become one."""
    return answer(await call.ask(catalogue.LIST_NODES, ListNodes(**dict(page), state=state)))


@router.get("/v1/nodes/{id}", response_model=NodeView)
async def get_node(call: CurrentCall, ref: Ref) -> Response:
    """One node."""
    return versioned(await call.ask(catalogue.GET_NODE, GetByName(ref=ref)))


@router.get("/v1/nodes/{id}/events", response_model=Listing[Fact])
async def events(call: CurrentCall, ref: Ref, limit: Annotated[int, Query(ge=1, le=1000)] = 200) -> Response:
    """What happened to a node and on it, newest first."""
    found = await call.ask(catalogue.GET_NODE, GetByName(ref=ref))
    request = ListFacts(entity="node", entity_id=found.id, limit=limit, newest_first=True)
    page = await call.ask(catalogue.LIST_FACTS, request)
    return answer(Listing[Fact](items=page.facts))


async def _command(
    call: Call, rpc: Rpc[NodeCommand, NodeView], ref: str, body: ForTheRecord | None
) -> Response:
    reason = body.reason if body else ""
    return versioned(await call.ask(rpc, NodeCommand(caller=call.caller, node=ref, reason=reason)))


@router.post("/v1/nodes/{id}/approve", response_model=NodeView)
async def approve(call: CurrentCall, ref: Ref, body: ForTheRecord | None = None) -> Response:
    """Make a pending machine a node."""
    return await _command(call, catalogue.APPROVE_NODE, ref, body)


@router.post("/v1/nodes/{id}/reject", response_model=NodeView)
async def reject(call: CurrentCall, ref: Ref, body: ForTheRecord | None = None) -> Response:
    """Refuse a pending machine."""
    return await _command(call, catalogue.REJECT_NODE, ref, body)


@router.post("/v1/nodes/{id}/revoke", response_model=NodeView)
async def revoke(call: CurrentCall, ref: Ref, body: ForTheRecord | None = None) -> Response:
    """Take a node's membership away; its link is cut."""
    return await _command(call, catalogue.REVOKE_NODE, ref, body)


@router.post("/v1/nodes/{id}/cordon", response_model=NodeView)
async def cordon(call: CurrentCall, ref: Ref, body: ForTheRecord | None = None) -> Response:
    """Put no new work on a node."""
    return await _command(call, catalogue.CORDON_NODE, ref, body)


@router.post("/v1/nodes/{id}/uncordon", response_model=NodeView)
async def uncordon(call: CurrentCall, ref: Ref, body: ForTheRecord | None = None) -> Response:
    """Let new work on a node again."""
    return await _command(call, catalogue.UNCORDON_NODE, ref, body)


@router.post("/v1/nodes/{id}/drain", status_code=202, response_model=Accepted)
async def drain(call: CurrentCall, ref: Ref, body: DrainBody | None = None) -> Response:
    """Put no new work on a node and move what is there to others.  Data is not moved: what holds it is named."""
    given = body or DrainBody()
    request = DrainNode(caller=call.caller, node=ref, reason=given.reason, deadline_s=given.deadline_s)
    return accepted(await call.ask(catalogue.DRAIN_NODE, request))


@router.post("/v1/nodes/{id}/confirm-lost", response_model=NodeView)
async def confirm_lost(call: CurrentCall, ref: Ref, body: ForTheRecord | None = None) -> Response:
    """A node that cannot be reached will not come back soon: its stateless work moves now."""
    return await _command(call, catalogue.CONFIRM_LOST, ref, body)


@router.patch("/v1/nodes/{id}", response_model=NodeView)
async def update_node(call: CurrentCall, ref: Ref, body: UpdateNodeBody) -> Response:
    """Change a node's labels or pool."""
    request = UpdateNode(caller=call.caller, node=ref, **body.model_dump())
    return versioned(await call.ask(catalogue.UPDATE_NODE, request))


@router.delete("/v1/nodes/{id}", status_code=204)
async def remove_node(call: CurrentCall, ref: Ref) -> Response:
    """Forget a node that is rejected or revoked, or that has no instances."""
    await call.ask(catalogue.REMOVE_NODE, NodeCommand(caller=call.caller, node=ref))
    return nothing()
