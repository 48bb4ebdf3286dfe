"""What is said on the bus: one frozen model per message, named in the past tense for what happened, imperative for what is asked.

Payloads are JSON, except where a model says that its channel carries bytes.  Requests to the registry carry their `Caller`: who asks, for
whom the audit row is written, and the idempotency key of the original REST request.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field

from lattice.contracts.nouns import (
    Amounts,
    ContainerKey,
    DesiredState,
    Id,
    Inventory,
    Name,
    NodeId,
    Noun,
    ObservedContainer,
    Phase,
    QuarantinedContainer,
)
from lattice.contracts.spec import (
    BackoffSpec,
    HealthSpec,
    PortProtocol,
    PullPolicy,
    RestartMode,
    WorkloadSpec,
)

PLATFORM = "_platform"  # stands for the project in facts and alerts about nodes and the platform itself


# ---------------------------------------------------------------- registry -> agent


class SealedValue(Noun):
    """One secret version, sealed to one node's key; byte for byte the same in every document."""

    secret_id: Id
    version: int
    sealed: str = Field(description="base64 of an X25519 sealed box")


class FileMount(Noun):
    """A read-only file inside the container: either plain content or a sealed secret."""

    path: str
    content: str | None = None
    secret: str | None = Field(None, description="the secret_id of one of the instance's sealed values")
    mode: int = 0o444
    uid: int = 0
    gid: int = 0


class RunPort(Noun):
    name: str
    container_port: int
    protocol: PortProtocol


class RunVolume(Noun):
    volume_id: Id
    name: str
    path: str
    size_bytes: int


class RunSpec(Noun):
    """Everything that an agent may turn into a container; what is not here cannot reach the Engine."""

    image: str = Field(description="the reference to run, pinned by digest or by local image id")
    image_id: str | None = Field(
        None, description="set when the image exists only on nodes: run exactly this id, never pull"
    )
    pull: PullPolicy = PullPolicy.MISSING
    pull_secret: str | None = Field(None, description="secret_id of `user:password` for the image's registry")
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    env: dict[str, str] = {}
    secret_env: dict[str, str] = Field({}, description="variable -> secret_id")
    files: tuple[FileMount, ...] = ()
    ports: tuple[RunPort, ...] = ()
    volumes: tuple[RunVolume, ...] = ()
    cpu_millis: int
    memory_bytes: int
    pids: int
    health: HealthSpec | None = None
    restart: RestartMode = RestartMode.ALWAYS
    backoff: BackoffSpec = BackoffSpec()
    stop_timeout_s: int = 10


class DesiredInstance(Noun):
    """One instance that a node must have, running or stopped."""

    key: ContainerKey
    instance_id: Id
    workload_name: str
    project: Name
    revision: int
    desired: Literal[DesiredState.RUNNING, DesiredState.STOPPED]
    run: RunSpec


class Tombstone(Noun):
    """The explicit order that a container must be gone; repeated until it was seen done."""

    key: ContainerKey
    instance_id: Id
    project: Name


class DesiredDocument(Noun):
    """Everything that one node must run.  Newest (era, generation) wins; absence of an instance means nothing."""

    cluster_id: str
    node_id: NodeId
    era: int
    generation: int
    instances: tuple[DesiredInstance, ...] = ()
    tombstones: tuple[Tombstone, ...] = ()
    secrets: tuple[SealedValue, ...] = ()
    remove_volumes: tuple[Id, ...] = Field(
        (), description="volumes whose removal was ordered; repeated until seen done"
    )

    @property
    def order(self) -> tuple[int, int]:
        """Documents of a node are ordered by this."""
        return (self.era, self.generation)


# ---------------------------------------------------------------- agent -> registry


class Heartbeat(Noun):
    """Every 5 s: alive, and how busy."""

    node_id: NodeId
    boot_id: str
    session: int
    agent_version: str
    usage: Amounts = Amounts()
    docker_problem: str = Field(
        "", description="why the Engine cannot be used, in plain words; empty when it can"
    )


class ObservedDocument(Noun):
    """Everything that the agent sees on its node; complete, after every change and every 30 s.

    The newest is the one with the highest `counter` of a `boot_id`; a new boot id replaces an old one when its `session` is higher.
    """

    node_id: NodeId
    boot_id: str
    session: int
    counter: int
    era: int
    generation: int = Field(description="of the newest desired document that the agent has journalled")
    complete: bool = Field(
        description="false while the Engine cannot be listed: then absence of a container means nothing"
    )
    docker_problem: str = ""
    containers: tuple[ObservedContainer, ...] = ()
    quarantined: tuple[QuarantinedContainer, ...] = ()
    volumes: tuple[Id, ...] = Field((), description="the volumes of this cluster that exist on the node")
    inventory: Inventory = Inventory()


class NodeEvent(Noun):
    """Something that happened on a node and that no state shows any more: an OOM kill, an exit, a refused document."""

    node_id: NodeId
    type: str
    at: datetime
    key: ContainerKey | None = None
    detail: str = ""
    data: dict[str, Any] = {}


class LogBlock(Noun):
    """Describes a block of log lines (the channel carries the block itself, zstd over NDJSON `[time_ns, stream, text]`).

    Lines of one container are numbered; `first` … `last` are the numbers in this block, so the store can tell a duplicate from a gap.
    """

    node_id: NodeId
    workload_id: Id
    instance_id: Id
    project: Name
    slot: int
    epoch: int
    source: str = Field(description="container id: the numbering starts anew with each container")
    first: int
    last: int
    first_at_ns: int
    last_at_ns: int


# ---------------------------------------------------------------- node commands (request/reply and sessions)


class ExecSize(Noun):
    rows: Annotated[int, Field(ge=1, le=1000)] = 24
    columns: Annotated[int, Field(ge=1, le=1000)] = 80


class ExecRequest(Noun):
    """Run argv inside an instance; the session's bytes go over `…session.<sid>.*`."""

    session_id: Id
    key: ContainerKey
    argv: tuple[str, ...] = Field(min_length=1)
    tty: bool = False
    stdin: bool = False
    size: ExecSize | None = None


class ExecStarted(Noun):
    session_id: Id


class SessionFrameKind(StrEnum):
    """What a frame of an exec session carries; in the header `Lattice-Frame`."""

    STDIN = "stdin"
    STDIN_CLOSED = "stdin-closed"
    RESIZE = "resize"
    STDOUT = "stdout"
    STDERR = "stderr"
    EXIT = "exit"
    KEEPALIVE = "keepalive"


class SessionFrame(Noun):
    """Describes the bytes of one frame; `exit_code` only with EXIT, `size` only with RESIZE, `error` when the session broke."""

    session_id: Id
    kind: SessionFrameKind
    number: int
    exit_code: int | None = None
    size: ExecSize | None = None
    error: str = ""


class Resync(Noun):
    """Asks the agent for its observed document at once."""


class Done(Noun):
    """The answer where there is nothing to say."""


# ---------------------------------------------------------------- facts and wake-ups


class Fact(Noun):
    """Something that happened, kept 30 days.  `seq` is gap-free and given by the relay."""

    seq: int
    id: Id
    project: str
    entity: str
    verb: str
    entity_id: str
    entity_name: str = ""
    actor: str
    operation_id: str | None = None
    cause: str = ""
    at: datetime
    data: dict[str, Any] = {}


class PlacementWanted(Noun):
    """A workload has instances without a place: a wake-up, the scheduler looks for itself."""

    workload_id: Id


class DeadLetter(Noun):
    """Describes a message that no consumer could handle (the channel carries the message itself)."""

    stream: str
    consumer: str
    stream_seq: int
    deliveries: int
    subject: str
    reason: str


class GivenUp(Noun):
    """The server's own word (an advisory) that a consumer gave a message up."""

    stream: str
    consumer: str
    stream_seq: int
    deliveries: int = 0
    reason: str = ""


# ---------------------------------------------------------------- requests to the registry


class Caller(Noun):
    """On whose behalf a request is made."""

    actor: str
    request_id: str = ""
    idempotency_key: str | None = None
    request_hash: str = Field(
        "", description="of method, path and body: the same key with another hash is refused"
    )
    if_match: str | None = None


class Page(Noun):
    page_size: Annotated[int, Field(ge=1, le=500)] = 50
    page_token: str | None = None


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


class UpdateNode(Noun):
    caller: Caller
    node: str
    labels: dict[str, str] | None = None
    pool: Name | None = None


class ListNodes(Page):
    state: str | None = None


class GetByName(Noun):
    """Reads one thing by id or name; `project` where names live in projects."""

    ref: str
    project: str = "default"


class ListInProject(Page):
    project: str | None = None


class CreateWorkload(Noun):
    caller: Caller
    project: Name = "default"
    spec: WorkloadSpec
    adopt: bool = False


class WorkloadCommand(Noun):
    """Stop, start or restart a workload."""

    caller: Caller
    project: str = "default"
    workload: str


class DeleteWorkload(WorkloadCommand):
    volumes: bool = False


class OperationCommand(Noun):
    caller: Caller
    operation: str


class DeleteVolume(Noun):
    caller: Caller
    project: str = "default"
    volume: str


class SetSecret(Noun):
    caller: Caller
    project: Name = "default"
    name: Name
    value: str = Field(min_length=1, max_length=65_536)


class DeleteSecret(Noun):
    caller: Caller
    project: str = "default"
    name: str


class GetCredentials(Noun):
    """Revealing credentials is itself audited, hence the caller."""

    caller: Caller
    project: str = "default"
    workload: str


class CreateProject(Noun):
    caller: Caller
    name: Name


class RecordAudit(Noun):
    """An act that changes nothing in the registry but must leave a trace there: an exec, a refused request."""

    caller: Caller
    project: str | None = None
    action: str
    entity: str
    entity_id: str
    detail: dict[str, Any] = {}


class ListFacts(Noun):
    """Facts after `after` in order of `seq`, at most `limit`; of one entity or project if given."""

    after: int = 0
    limit: Annotated[int, Field(ge=1, le=1000)] = 200
    project: str | None = None
    entity: str | None = None
    entity_id: str | None = None
    newest_first: bool = False


class FactsPage(Noun):
    facts: tuple[Fact, ...]
    head: int = Field(description="the newest seq so far")


class ListAudit(Page):
    project: str | None = None
    actor: str | None = None
    action: str | None = None


class Empty(Noun):
    """A request without parameters."""


# ---------------------------------------------------------------- scheduler <-> registry


class TakeTerm(Noun):
    leader: str


class Term(Noun):
    term: int


class SchedulableNode(Noun):
    """What the scheduler knows of a node.  `placement_version` rises with every change of what is here."""

    node_id: NodeId
    name: str
    placement_version: int
    state: str
    reason: str = ""
    arch: str
    os: str = ""
    pool: str
    labels: dict[str, str] = {}
    capacity: Amounts
    reserved: Amounts
    image_ids: frozenset[str] = frozenset()
    workloads: dict[str, int] = Field({}, description="workload_id -> how many of its instances are here")


class PlacementRequest(Noun):
    """One instance that needs a node."""

    instance_id: Id
    workload_id: Id
    workload_name: str
    project: str
    slot: int
    workload_generation: int
    reserve: Amounts
    pools: tuple[str, ...] = ("default",)
    constraints: tuple[str, ...] = ()
    arch: tuple[str, ...] | None = Field(
        None, description="the architectures of the image; None where unknown"
    )
    only_nodes: tuple[str, ...] | None = Field(
        None, description="where its volume or its local-only image is"
    )
    only_nodes_reason: str = ""
    image_id: str | None = None


class SchedulingSnapshot(Noun):
    term: int
    nodes: tuple[SchedulableNode, ...]
    wanted: tuple[PlacementRequest, ...]


class RejectedNode(Noun):
    """Why one node cannot take an instance."""

    node_id: NodeId
    node_name: str
    filter: str
    reason: str


class Placement(Noun):
    """The scheduler's decision for one instance, with its reasons."""

    instance_id: Id
    workload_id: Id
    workload_generation: int
    node_id: NodeId
    placement_version: int = Field(description="of the node, as seen by the decision")
    score: float
    reason: str
    rejected: tuple[RejectedNode, ...] = ()


class UnplaceableInstance(Noun):
    instance_id: Id
    workload_id: Id
    summary: str
    rejected: tuple[RejectedNode, ...] = ()


class CommitPlacements(Noun):
    term: int
    placements: tuple[Placement, ...] = ()
    unplaceable: tuple[UnplaceableInstance, ...] = ()


class RefusedPlacement(Noun):
    instance_id: Id
    reason: str


class PlacementsCommitted(Noun):
    """Partial per instance: losers are to be placed again on the newer nodes that come along."""

    accepted: tuple[str, ...] = ()
    refused: tuple[RefusedPlacement, ...] = ()
    nodes: tuple[SchedulableNode, ...] = ()


# ---------------------------------------------------------------- logs


class KnownInstances(Noun):
    """Asks which instances a node has or had: logs accepts no others."""

    node_id: NodeId


class InstanceOwners(Noun):
    """instance_id -> (project, workload_id, workload_name)."""

    instances: dict[str, tuple[str, str, str]]


class QueryLogs(Noun):
    project: str
    workload_id: Id
    since_ns: int | None = None
    until_ns: int | None = None
    grep: str | None = Field(None, max_length=1024, description="lines that contain this text")
    limit: Annotated[int, Field(ge=1, le=10_000)] = 100


class LogLine(Noun):
    """One line as REST and CLI print it."""

    time: datetime
    node: str
    workload: str
    instance: str
    stream: str
    message: str
    number: int = 0
    source: str = Field("", description="container id: `number` starts anew with each container")


class LogLines(Noun):
    """The newest matching lines, oldest first."""

    lines: tuple[LogLine, ...]


class PhaseReached(Noun):
    """A step of a deploy on the node, for progress: not stored."""

    instance_id: Id
    phase: Phase
    progress: str = ""
