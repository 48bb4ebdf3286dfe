"""What REST answers, the CLI prints with `-o json` and the registry returns: the shapes that scripts rely on."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, Literal, TypeVar

from pydantic import Field

from lattice.contracts.nouns import (
    Amounts,
    DesiredState,
    Health,
    InstanceState,
    JobRunState,
    LastExit,
    NodeState,
    Noun,
    OperationState,
    OwnerPolicy,
    PortMapping,
    QuarantinedContainer,
    RolloutState,
    RunTrigger,
    VolumeState,
    WorkloadState,
)
from lattice.contracts.spec import PortSpec, UpdateOrder, WorkloadSpec

T = TypeVar("T")


class PlanAction(StrEnum):
    """What a plan comes to."""

    CREATE = "create"
    UPDATE = "update"
    NOTHING = "nothing"


class Listing(Noun, Generic[T]):
    """A page of things; `next_page_token` is opaque and null at the end."""

    items: tuple[T, ...]
    next_page_token: str | None = None


class BlockerView(Noun):
    """What is still on a node that is to be empty, and why."""

    workload: str
    reason: str


class NodeView(Noun):
    """A machine of the platform, or one that asks to become one."""

    id: str
    name: str
    state: NodeState
    reason: str = ""
    labels: dict[str, str] = {}
    pool: str
    arch: str = ""
    os: str = ""
    docker_version: str = ""
    agent_version: str = ""
    capacity: Amounts
    reserved: Amounts
    usage: Amounts
    fingerprint: str
    last_seen: datetime | None = None
    created_at: datetime
    certificate_expires_at: datetime | None = None
    lost_since: datetime | None = Field(None, description="since when it cannot be reached")
    quarantined: tuple[QuarantinedContainer, ...] = ()
    blockers: tuple[BlockerView, ...] = Field(
        (), description="while it is drained, shown of one node: what is left, and why it does not move"
    )
    policy: OwnerPolicy | None = Field(None, description="what its owner allows; null: everything")
    version: int


class InstanceView(Noun):
    """What fills one slot of a workload."""

    id: str
    slot: int
    epoch: int
    node: str | None = Field(None, description="the node's name; null while it has no place")
    node_id: str | None = None
    state: InstanceState
    health: Health = Health.UNKNOWN
    reason: str = ""
    progress: str = ""
    revision: int
    ports: tuple[PortMapping, ...] = ()
    started_at: datetime | None = None
    restarts: int = 0
    exit_code: int | None = None
    oom_killed: bool = False
    last_log: tuple[str, ...] = ()
    last_exit: LastExit | None = Field(None, description="how it ended last, also while it runs again")


class RejectedNodeView(Noun):
    node: str
    filter: str
    reason: str


class PlacementView(Noun):
    """Why an instance is where it is, or why it has no place."""

    instance: str
    slot: int
    node: str | None = None
    reason: str
    rejected: tuple[RejectedNodeView, ...] = ()
    decided_at: datetime | None = None


class FieldChange(Noun):
    """A field of a spec that would be another; null where it was, or would be, absent."""

    path: str
    before: Any = None
    after: Any = None


class PlannedPlacement(Noun):
    """Where an instance would go now, or why it would have no place."""

    slot: int
    node: str | None = None
    reason: str
    rejected: tuple[RejectedNodeView, ...] = ()


class PlanView(Noun):
    """What a spec would change; nothing was.  `apply --if-match` takes `version`, so that a plan that is out of date is refused."""

    name: str
    project: str
    action: PlanAction
    reason: str = Field(
        "", description="why nothing changes, or why containers are replaced though the spec is the same"
    )
    version: int = Field(description="of the workload as it is now; 0 while there is none")
    revision: int | None = Field(None, description="the one that is there now")
    changes: tuple[FieldChange, ...] = ()
    spec: WorkloadSpec
    image: str = Field(description="the reference as it would be pinned")
    image_before: str = ""
    order: UpdateOrder | None = Field(None, description="of an update that replaces containers")
    order_reason: str = ""
    replaced: int = Field(0, description="instances that are made anew")
    added: int = 0
    removed: int = 0
    placements: tuple[PlannedPlacement, ...] = ()
    placements_missing: str = Field("", description="why nobody could say where the instances would go")


class DomainView(Noun):
    """A domain of somebody's own, and whether it leads to the route yet."""

    name: str
    verified: bool = Field(description="whether DNS says so: only then visitors are let in by this name")
    reason: str = ""
    record: str = Field(description="what is to be written in DNS")
    checked_at: datetime | None = None


class RouteView(Noun):
    url: str
    secure_url: str = Field(
        "", description="the same over HTTPS, where `url` is HTTP and there is such a one"
    )
    host: str
    port: int
    protocol: str
    workload: str
    public: bool = Field(False, description="from any network; else on its node only")
    plaintext: bool = Field(False, description="public, and nothing says that it is encrypted")
    taken_down: str = Field("", description="why the platform's operators let nobody in")
    domains: tuple[DomainView, ...] = ()


class LinkView(Noun):
    """A name inside the workload's containers for another workload."""

    host: str
    workload: str = Field(description="the workload that it leads to")
    ports: tuple[int, ...] = Field(description="on which it answers inside")
    reason: str = Field("", description="why nobody answers right now; empty where somebody does")


class RolloutView(Noun):
    """How a revision takes, or took, the place of another."""

    state: RolloutState
    from_revision: int | None
    to_revision: int
    order: UpdateOrder
    reason: str = ""
    started_at: datetime
    ended_at: datetime | None = None


class JobRunView(Noun):
    """One run of a job."""

    id: str
    workload: str
    state: JobRunState
    reason: str = ""
    trigger: RunTrigger
    scheduled_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int | None = None
    attempts: int = 0
    revision: int
    node: str | None = Field(None, description="the node's name; null until one has begun it")
    instance_id: str | None = None
    container_id: str = Field("", description="the `source` of its log lines")
    last_log: tuple[str, ...] = ()
    duplicate: bool = Field(False, description="made again by a node that was thought lost")


class WorkloadView(Noun):
    """A workload with everything that an operator asks first."""

    id: str
    name: str
    project: str
    app: str | None = Field(None, description="the app that it belongs to")
    service: str | None = Field(None, description="its name within the app, which is a host name there")
    state: WorkloadState
    reason: str = ""
    desired_state: DesiredState
    revision: int
    spec: WorkloadSpec
    image: str = Field("", description="the reference as pinned at accept")
    instances: tuple[InstanceView, ...] = ()
    routes: tuple[RouteView, ...] = ()
    links: tuple[LinkView, ...] = ()
    placement: tuple[PlacementView, ...] = ()
    rollout: RolloutView | None = Field(None, description="the newest update")
    next_run_at: datetime | None = Field(None, description="when a job's schedule is due next")
    last_run: JobRunView | None = Field(None, description="the newest run of a job")
    created_at: datetime
    updated_at: datetime
    version: int = Field(description="the ETag's value")


class AppServiceView(Noun):
    """A service of an app: the workload that it became, in short."""

    service: str = Field(description="its name in the compose file, which is a host name within the app")
    workload: str
    state: WorkloadState
    reason: str = ""
    ready: int = Field(description="instances that run")
    replicas: int
    image: str = ""
    nodes: tuple[str, ...] = ()
    routes: tuple[RouteView, ...] = ()


class AppView(Noun):
    """Workloads that came from one compose file."""

    id: str
    name: str
    project: str
    state: WorkloadState
    reason: str = ""
    services: tuple[AppServiceView, ...] = ()
    created_at: datetime
    updated_at: datetime
    version: int = Field(description="the ETag's value; rises each time that a file is applied")


class AppChange(Noun):
    """What applying a compose file does to one service."""

    service: str
    workload: str
    change: Literal["create", "update", "keep", "remove"]
    fields: tuple[str, ...] = Field((), description="the parts of its spec that change")


class ComposeFinding(Noun):
    """A sentence about one place of a compose file."""

    path: str = Field(description="such as services.web.ports[0]")
    detail: str


class AppPlan(Noun):
    """What applying a compose file means."""

    app: str
    changes: tuple[AppChange, ...]
    ignored: tuple[ComposeFinding, ...] = Field(
        (), description="keys that are not honoured, and were left out because that was asked for"
    )
    notes: tuple[ComposeFinding, ...] = Field(
        (), description="keys that are honoured in a way that people should know"
    )


class RevisionView(Noun):
    """A spec that a workload had; `rollout` says what became of it, null for the first."""

    number: int
    current: bool = False
    rollout: RolloutView | None = None
    spec: WorkloadSpec
    image: str
    created_at: datetime
    created_by: str


class ProblemView(Noun):
    """Why an operation failed."""

    code: str
    detail: str
    log: tuple[str, ...] = Field((), description="the last lines that the failed instance printed")


class OperationLine(Noun):
    """What an operation was doing from a moment on."""

    at: datetime
    text: str


class OperationView(Noun):
    """A user's action that takes time."""

    id: str
    kind: str
    state: OperationState
    project: str | None = None
    subject_kind: str = Field("", description="workload or node")
    subject_id: str = ""
    subject_name: str = ""
    progress: str = ""
    percent: int | None = None
    log: tuple[OperationLine, ...] = ()
    created_at: datetime
    created_by: str
    deadline: datetime
    ended_at: datetime | None = None
    result: dict[str, Any] | None = None
    problem: ProblemView | None = None


class Accepted(Noun):
    """The answer to a command that takes time: its operation, and the thing it changes as it is now."""

    operation: OperationView
    workload: WorkloadView | None = None
    node: NodeView | None = None


class AppAccepted(AppPlan):
    """The answer to a command about an app: one operation per workload that changes."""

    operations: tuple[OperationView, ...] = ()
    view: AppView = Field(description="the app as it is now")


class CredentialsView(Noun):
    """How to reach a workload: `uri`, and the parts it is made of."""

    workload: str
    uri: str
    host: str
    port: int
    username: str = ""
    password: str = ""
    database: str = ""
    tls: bool = False
    ca: str = Field("", description="PEM of the CA to trust")
    extra: dict[str, str] = {}


class VolumeView(Noun):
    id: str
    project: str
    name: str
    slot: int
    state: VolumeState
    reason: str = Field("", description="what its state means, and what can be done")
    workload: str | None = Field(None, description="what uses it")
    created_by_workload: str
    node: str | None = None
    size_bytes: int
    has_credentials: bool = False
    created_at: datetime


class SecretView(Noun):
    """Never its value."""

    name: str
    project: str
    version: int
    created_at: datetime
    updated_at: datetime


class ProjectView(Noun):
    name: str
    created_at: datetime


class TemplateView(Noun):
    """An entry of the service catalogue, with the JSON schema of its values."""

    name: str
    title: str
    description: str
    values_schema: dict[str, Any]
    images: tuple[str, ...]
    max_replicas: int
    example: str
    ports: tuple[PortSpec, ...] = ()


class AuditView(Noun):
    """One row of the audit trail."""

    id: str
    at: datetime
    actor: str
    action: str
    entity: str
    entity_id: str
    entity_name: str = ""
    project: str | None = None
    request_id: str = ""
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None


class JoinTokenView(Noun):
    id: str
    token: str
    expires_at: datetime
    ca_fingerprint: str
    command: str


class SreCredentialView(Noun):
    """Who may hear alerts at the bus itself; what it is made of was shown once."""

    id: str
    name: str
    project: str | None = Field(None, description="null: alerts of every project and of the platform")
    may_order: bool = Field(description="whether it may acknowledge, silence and resolve")
    created_by: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None = None


class SreCredentialCreated(SreCredentialView):
    """The credential itself, for any client of NATS; shown this once."""

    urls: tuple[str, ...] = Field(description="addresses of the bus")
    server_name: str = Field(description="the name that the bus's certificate carries")
    ca: str = Field(description="PEM of the CA to trust")
    certificate: str = Field(description="PEM of the client certificate and its chain")
    private_key: str = Field(description="PEM of its private key")
    creds: str = Field(description="ticket and secret in NATS's creds format")
    subscribe: str = Field(description="the subject of the alerts that it may hear")
    order: str = Field("", description="the subject below which it may give orders")
    inbox_prefix: str = Field("", description="where it may receive their replies")
