"""Requests about machines: joining, renewing, and what people decide about them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from lattice.contracts.messages.requests import Caller, Page
from lattice.contracts.nouns import Id, Inventory, Name, NodeId, Noun


class CreateJoinToken(Noun):
    caller: Caller
    ttl_s: Annotated[float, Field(gt=0, le=86_400)] = 900
    pool: Name = "default"
    labels: dict[str, str] = {}
    gateway_url: str
    auto_approve: bool = False


class JoinTokenCreated(Noun):
    id: Id
    token: str
    expires_at: datetime
    ca_fingerprint: str


class RegisterNode(Noun):
    """A machine asks for membership with a join token; it becomes pending and has no power."""

    token: str
    name: Name
    csr_pem: str = Field(max_length=8192)
    nkey: str = Field(max_length=80, description="public user nkey")
    sealing_key: str = Field(max_length=80, description="base64 X25519 public key")
    inventory: Inventory = Inventory()
    request_id: str = ""


class NodeRegistered(Noun):
    node_id: NodeId
    fingerprint: str


class NodeProof(Noun):
    """Proves that a request comes from the holder of the node's nkey: a signature over `purpose`, node, time and body."""

    node_id: NodeId
    signed_at: datetime
    signature: str = Field(
        max_length=120, description="base64 Ed25519 by the nkey over `identity.proof_bytes`"
    )


class GetEnrolment(Noun):
    proof: NodeProof


class NodeCredentials(Noun):
    """What makes an approved machine a node; also the answer to a renewal."""

    certificate_pem: str = Field(description="leaf and issuing CA")
    ca_pem: str
    jwt: str
    expires_at: datetime
    cluster_id: str
    nats_urls: tuple[str, ...]
    nats_server_name: str


class Enrolment(Noun):
    """Where an enrolment stands; `credentials` once it is approved."""

    node_id: NodeId
    state: str
    fingerprint: str
    reason: str = ""
    credentials: NodeCredentials | None = None


class RenewNode(Noun):
    proof: NodeProof
    csr_pem: str = Field(max_length=8192)


class NodeCommand(Noun):
    """Approve, reject, revoke, cordon, uncordon, drain or remove a node."""

    caller: Caller
    node: str = Field(description="id or name")
    reason: str = ""


class DrainNode(NodeCommand):
    deadline_s: Annotated[float, Field(ge=1, le=7 * 86_400)] = 3600.0


class UpdateNode(Noun):
    caller: Caller
    node: str
    labels: dict[str, str] | None = None
    pool: Name | None = None


class ListNodes(Page):
    state: str | None = None
