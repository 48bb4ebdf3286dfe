"""The registry's rows.  Postgres is the truth; everything on the bus is made from here.

A row with `version` is guarded: a change that was decided on an older reading is refused.  What is reported often and decides nothing
(`NodePresenceRow`) has no version, so a heartbeat never collides with a decision.  Wire shapes are in `lattice.contracts`; rows never
travel.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from sqlalchemy import BigInteger, Column, Index, MetaData, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from lattice.columns import AuditColumns, document, document_starting_as, moment
from lattice.migrations import Migrations

SCHEMA = "registry"
metadata = MetaData(schema=SCHEMA)


class Row(SQLModel):
    """Common to all rows of this service: their schema."""

    metadata: ClassVar[MetaData] = metadata


class ClusterRow(Row, table=True):
    """The one row about the platform itself.  `era` rises at a restore, `term` with each new leader of the scheduler."""

    __tablename__ = "cluster"
    id: int = Field(default=1, primary_key=True)
    cluster_id: str
    era: int = 1
    term: int = 0
    leader: str = ""
    # many nodes vanished together: no work moves off them by itself until the judge ends this, at this time at the earliest
    moves_held_until: datetime | None = moment(nullable=True)
    created_at: datetime = moment()
    version: int = 1


class JoinTokenRow(Row, table=True):
    """A single-use right to ask for membership; only its hash is kept."""

    __tablename__ = "join_token"
    id: str = Field(primary_key=True)
    secret_sha256: str = Field(index=True)
    pool: str = "default"
    labels: dict[str, str] = document_starting_as(dict)
    auto_approve: bool = False
    created_by: str
    created_at: datetime = moment()
    expires_at: datetime = moment()
    used_at: datetime | None = moment(nullable=True)
    used_by: str | None = None
    version: int = 1


class NodeRow(Row, table=True):
    """A machine that asks for membership or has it.

    `generation` orders its desired documents, `placement_version` guards placements; `observed_*` order its observed documents.
    """

    __tablename__ = "node"
    __table_args__ = (
        Index("node_name", "name", unique=True, postgresql_where=text("removed_at is null")),
        Index("node_dirty", "id", postgresql_where=text("document_dirty")),
        Index("node_left", "id", postgresql_where=text("draining or lost_since is not null")),
        Index("node_unpublished", "id", postgresql_where=text("document_unpublished")),
        Index("node_placement_changed", "placement_changed_at"),
    )
    id: str = Field(primary_key=True)
    name: str
    membership: str
    liveness: str
    reason: str = ""
    # since when it cannot be reached; `loss_confirmed`: people say that it will not come back soon
    lost_since: datetime | None = moment(nullable=True)
    loss_confirmed: bool = False
    cordoned: bool = False
    draining: bool = False
    pool: str = "default"
    labels: dict[str, str] = document_starting_as(dict)
    inventory: dict[str, Any] = document_starting_as(dict)
    # as in the inventory, where it can be looked for
    agent_version: str = ""
    docker_problem: str = ""
    # too full for new work: a `disk_watermark.DiskFull`; null while it is not
    disk_full: dict[str, Any] | None = document(nullable=True)
    # whether it is, where it can be looked for
    disk_low: bool = False
    quarantined: list[dict[str, Any]] = document_starting_as(list)
    # identity
    fingerprint: str
    nkey: str = Field(index=True)  # looked up at each connection to the bus
    sealing_key: str
    csr_pem: str = Field(default="")
    join_token_id: str | None = None
    certificate_expires_at: datetime | None = moment(nullable=True)
    created_at: datetime = moment()
    decided_at: datetime | None = moment(nullable=True)
    removed_at: datetime | None = moment(nullable=True)
    # the desired document
    generation: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    document_unpublished: bool = False
    document: dict[str, Any] | None = document(nullable=True)
    document_dirty: bool = False
    # the newest observed document
    boot_id: str = ""
    session: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    observed_counter: int = Field(default=-1, sa_column=Column(BigInteger, nullable=False))
    # when the newest was taken in: up to then what is known of its containers held
    observed_at: datetime | None = moment(nullable=True)
    observed_era: int = 0
    observed_generation: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    # the runs of jobs that it told of and that are recorded, by their serial
    runs_known: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    placement_version: int = Field(default=1, sa_column=Column(BigInteger, nullable=False))
    # when `placement_version` rose last; a scheduler is told only what is newer than what it knows
    placement_changed_at: datetime | None = moment(nullable=True)
    version: int = 1


class NodePresenceRow(Row, table=True):
    """When a node was last heard and how busy it was; written in bulk, guards nothing."""

    __tablename__ = "node_presence"
    id: str = Field(primary_key=True)
    last_seen: datetime = moment()
    usage: dict[str, Any] = document_starting_as(dict)


class ProjectRow(Row, table=True):
    """The boundary of names, rights and secrets."""

    __tablename__ = "project"
    id: str = Field(primary_key=True)
    created_at: datetime = moment()


class AppRow(Row, table=True):
    """Workloads that came from one compose file.  Changes of an app hold the lock `apps.lock_name`, so its row needs no place in LOCK_ORDER."""

    __tablename__ = "app"
    __table_args__ = (
        Index("app_name", "project", "name", unique=True, postgresql_where=text("removed_at is null")),
    )
    id: str = Field(primary_key=True)
    project: str
    name: str
    desired: str
    created_at: datetime = moment()
    updated_at: datetime = moment()
    removed_at: datetime | None = moment(nullable=True)
    version: int = 1


class RouteRow(Row, table=True):
    """A public name.  It belongs to its workload's lock; `host` stays reserved for a while after its release, for the same workload's name.

    `document` is what the ingresses are told, `number` counts its versions.
    """

    __tablename__ = "route"
    __table_args__ = (
        Index("route_host", "host", unique=True),
        Index("route_port", "port", unique=True),
        Index("route_workload", "workload_id"),
        Index("route_unpublished", "id", postgresql_where=text("unpublished")),
    )
    id: str = Field(primary_key=True)
    project: str
    workload_id: str
    workload_name: str
    port_name: str
    protocol: str
    host: str
    port: int | None = None
    plaintext: bool = False
    guard: dict[str, Any] | None = document(nullable=True)
    taken_down: str = ""
    document: dict[str, Any] | None = document(nullable=True)
    number: int = 0
    unpublished: bool = False
    created_at: datetime = moment()
    released_at: datetime | None = moment(nullable=True)
    version: int = 1


class DomainRow(Row, table=True):
    """A domain of somebody's own that is to lead to a route; it does once it is verified.  It belongs to its workload's lock."""

    __tablename__ = "domain"
    __table_args__ = (
        Index("domain_route", "route_id", "name", unique=True),
        Index("domain_verified", "name", unique=True, postgresql_where=text("state = 'verified'")),
        Index("domain_workload", "workload_id"),
        Index("domain_due", "next_check_at"),
    )
    id: str = Field(primary_key=True)
    name: str
    route_id: str
    workload_id: str
    project: str
    state: str
    reason: str
    created_at: datetime = moment()
    next_check_at: datetime = moment()
    checked_at: datetime | None = moment(nullable=True)
    failing_since: datetime | None = moment(nullable=True)
    version: int = 1


class WorkloadRow(Row, table=True):
    """A named thing that a project wants running.  `generation` rises with everything that placements depend on.

    `settled` is false from a command that sets a new goal until all instances are as wanted; `stable_revision` is the newest that has
    worked.
    """

    __tablename__ = "workload"
    __table_args__ = (
        Index("workload_name", "project", "name", unique=True, postgresql_where=text("removed_at is null")),
        Index("workload_unsettled", "id", postgresql_where=text("not settled")),
        Index("workload_of_app", "app_id", postgresql_where=text("app_id is not null")),
        Index("workload_keeps_apart", "project", postgresql_where=text("keeps_apart")),
    )
    id: str = Field(primary_key=True)
    project: str
    name: str
    desired: str
    revision: int = 1
    stable_revision: int | None = None
    generation: int = 1
    replicas: int = 1
    settled: bool = True
    # the app that it belongs to, by id and by name, and its service there
    app_id: str | None = None
    app: str | None = None
    service: str | None = None
    # some revision of it keeps apart from others: the scheduler must be told of its rules when those are placed
    keeps_apart: bool = False
    created_at: datetime = moment()
    updated_at: datetime = moment()
    removed_at: datetime | None = moment(nullable=True)
    version: int = 1


class RevisionRow(Row, table=True):
    """An immutable version of a workload's spec: as written, and as it is run (`run` is a RunSpec, `access` says how to reach it)."""

    __tablename__ = "revision"
    __table_args__ = (UniqueConstraint("workload_id", "number", name="revision_number"),)
    id: str = Field(primary_key=True)
    workload_id: str = Field(index=True)
    number: int
    spec: dict[str, Any] = document()
    run: dict[str, Any] = document()
    access: dict[str, Any] | None = document(nullable=True)
    image: str
    image_reason: str = ""
    # the nodes that hold an image which cannot be pulled; null where any node may pull it
    only_nodes: list[str] | None = document(nullable=True)
    secret_versions: dict[str, int] = document_starting_as(dict)
    created_at: datetime = moment()
    created_by: str


class InstanceRow(Row, table=True):
    """What fills a slot on a node.  The registry writes `desired`, the agent's reports write the rest; `gone_at` ends its tombstone."""

    __tablename__ = "instance"
    __table_args__ = (
        UniqueConstraint("workload_id", "slot", "epoch", name="instance_slot_epoch"),
        Index("instance_on_node", "node_id", postgresql_where=text("gone_at is null")),
        Index(
            "instance_failing", "id", postgresql_where=text("failing_since is not null and gone_at is null")
        ),
        Index(
            "instance_gone_with_data", "gone_at", postgresql_where=text("has_volume and gone_at is not null")
        ),
        Index(
            "instance_unready", "id", postgresql_where=text("unready_since is not null and gone_at is null")
        ),
        Index("instance_failed", "id", postgresql_where=text("phase = 'failed' and gone_at is null")),
        Index("instance_unplaced", "id", postgresql_where=text("node_id is null and gone_at is null")),
        Index("instance_waiting", "project", "waits_on", postgresql_where=text("waits_on is not null")),
    )
    id: str = Field(primary_key=True)
    workload_id: str = Field(index=True)
    workload_name: str
    project: str
    slot: int
    epoch: int
    revision: int
    desired: str
    node_id: str | None = None
    phase: str = "pending"
    health: str = "unknown"
    # since when it serves without a restart, and since when it does not; one of both is null
    ready_since: datetime | None = moment(nullable=True)
    unready_since: datetime | None = moment(nullable=True)
    # it has served for as long as an update asks for
    proven: bool = False
    reason: str = ""
    progress: str = ""
    # no node is told of it before this workload is so far as `waits_for` says; since when nothing is in its way
    waits_on: str | None = None
    waits_for: str = ""
    released_at: datetime | None = moment(nullable=True)
    container_id: str = ""
    image_id: str = ""
    ports: list[dict[str, Any]] = document_starting_as(list)
    last_log: list[str] = document_starting_as(list)
    started_at: datetime | None = moment(nullable=True)
    finished_at: datetime | None = moment(nullable=True)
    exit_code: int | None = None
    oom_killed: bool = False
    # how its container ended last (a LastExit), or that of the instance before it in its slot
    last_exit: dict[str, Any] | None = document(nullable=True)
    # it ended by itself, and its restart policy leaves it so
    ended: bool = False
    restarts: int = 0
    # since when it keeps failing where it is; why it is therefore to be replaced elsewhere; how often that has happened in a row; the nodes
    # (id -> reason) on which it did
    failing_since: datetime | None = moment(nullable=True)
    given_up: str = ""
    moves: int = 0
    avoid: dict[str, str] = document_starting_as(dict)
    # what it reserves, and where its volumes allow it to be
    cpu_millis: int = 0
    memory_bytes: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    disk_bytes: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    document_bytes: int = 0
    # the ports of its node that only one instance can have
    host_ports: list[int] = document_starting_as(list)
    has_volume: bool = False
    placement: dict[str, Any] | None = document(nullable=True)
    # the node generation from which its document carries the tombstone
    tombstone_generation: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))
    created_at: datetime = moment()
    gone_at: datetime | None = moment(nullable=True)
    version: int = 1


class JobRunRow(Row, table=True):
    """A run of a job: asked for (`instance_id` is null until an instance has taken it), or as its agent tells of it.

    `run_id` is what asked for it: the instant of a schedule, or the request.  Another instance's run of the same is a `duplicate`.
    """

    __tablename__ = "job_run"
    __table_args__ = (
        UniqueConstraint("workload_id", "run_id", "instance_id", name="job_run_once"),
        Index("job_run_open", "workload_id", postgresql_where=text("state in ('pending', 'running')")),
        Index("job_run_failed", "finished_at", postgresql_where=text("state = 'failed'")),
    )
    id: str = Field(primary_key=True)
    run_id: str
    workload_id: str = Field(index=True)
    workload_name: str
    project: str
    instance_id: str | None = None
    node_id: str | None = None
    slot: int | None = None
    epoch: int | None = None
    revision: int
    trigger: str
    scheduled_at: datetime = moment()
    state: str
    reason: str = ""
    attempts: int = 0
    started_at: datetime | None = moment(nullable=True)
    finished_at: datetime | None = moment(nullable=True)
    exit_code: int | None = None
    container_id: str = ""
    last_log: list[str] = document_starting_as(list)
    duplicate: bool = False
    created_at: datetime = moment()
    version: int = 1


class RolloutRow(Row, table=True):
    """An update: how a revision takes the place of the one before, and whether it did."""

    __tablename__ = "rollout"
    __table_args__ = (
        Index("rollout_active", "workload_id", unique=True, postgresql_where=text("ended_at is null")),
    )
    id: str = Field(primary_key=True)
    workload_id: str = Field(index=True)
    # the revision to go back to; null where none has worked yet
    from_revision: int | None = None
    to_revision: int
    update_order: str
    order_reason: str = ""
    state: str
    reason: str = ""
    operation_id: str
    started_at: datetime = moment()
    ended_at: datetime | None = moment(nullable=True)
    version: int = 1


class OperationRow(Row, table=True):
    """A user's action that takes time; never in progress past its deadline."""

    __tablename__ = "operation"
    __table_args__ = (
        Index("operation_open", "deadline", postgresql_where=text("ended_at is null")),
        Index("operation_failed", "ended_at", postgresql_where=text("state = 'failed'")),
    )
    id: str = Field(primary_key=True)
    kind: str
    state: str
    project: str | None = None
    subject_kind: str
    subject_id: str = Field(index=True)
    subject_name: str
    progress: str = ""
    percent: int | None = None
    instance_ids: list[str] = document_starting_as(list)
    log: list[dict[str, Any]] = document_starting_as(list)
    created_at: datetime = moment()
    created_by: str
    deadline: datetime = moment()
    ended_at: datetime | None = moment(nullable=True)
    result: dict[str, Any] | None = document(nullable=True)
    problem: dict[str, Any] | None = document(nullable=True)
    version: int = 1


class VolumeRow(Row, table=True):
    """Data on one node that outlives its workload, and the credentials that open it."""

    __tablename__ = "volume"
    __table_args__ = (
        Index(
            "volume_name", "project", "name", "slot", unique=True, postgresql_where=text("removed_at is null")
        ),
    )
    id: str = Field(primary_key=True)
    project: str
    name: str
    slot: int
    node_id: str | None = None
    workload_id: str | None = Field(default=None, index=True)
    created_by_workload: str
    size_bytes: int = Field(sa_column=Column(BigInteger, nullable=False))
    state: str
    removing: bool = False
    created_at: datetime = moment()
    removed_at: datetime | None = moment(nullable=True)
    version: int = 1


class SecretRow(Row, table=True):
    """A secret of a project (`owner` = ""), of a volume or of a workload (`owner` = its id): its newest version's number."""

    __tablename__ = "secret"
    __table_args__ = (UniqueConstraint("project", "owner", "name", name="secret_name"),)
    id: str = Field(primary_key=True)
    project: str
    owner: str = ""
    name: str
    current: int = 1
    created_at: datetime = moment()
    updated_at: datetime = moment()
    version: int = 1


class SecretVersionRow(Row, table=True):
    """One version of a secret, envelope-encrypted."""

    __tablename__ = "secret_version"
    id: str = Field(primary_key=True, description="<secret id>-<number>")
    secret_id: str = Field(index=True)
    number: int
    envelope: dict[str, Any] = document()
    created_at: datetime = moment()


class SealedCopyRow(Row, table=True):
    """A secret version sealed to one node's key: made once and sent byte for byte the same ever after."""

    __tablename__ = "sealed_copy"
    id: str = Field(primary_key=True, description="<secret id>-<number>-<node id>")
    secret_id: str
    number: int
    node_id: str = Field(index=True)
    sealed: str


class FactRow(Row, table=True):
    """Something that happened.  `seq` is stamped by the relay when it takes the row, so a late commit is never skipped."""

    __tablename__ = "fact"
    __table_args__ = (
        Index("fact_unstamped", "created_at", "id", postgresql_where=text("seq is null")),
        Index("fact_unpublished", "seq", postgresql_where=text("published_at is null")),
        Index("fact_dead_letter", "created_at", postgresql_where=text("entity = 'dead_letter'")),
    )
    id: str = Field(primary_key=True)
    seq: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True, unique=True))
    project: str
    entity: str
    verb: str
    entity_id: str = Field(index=True)
    entity_name: str = ""
    # the workload that it concerns, whatever the entity
    workload_id: str | None = Field(default=None, index=True)
    actor: str
    operation_id: str | None = None
    cause: str = ""
    data: dict[str, Any] = document_starting_as(dict)
    created_at: datetime = moment()
    published_at: datetime | None = moment(nullable=True)


class FactHeadRow(Row, table=True):
    """The newest `seq`; its row lock is what makes the numbers gap-free."""

    __tablename__ = "fact_head"
    id: int = Field(default=1, primary_key=True)
    seq: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))


class LinkRow(Row, table=True):
    """That revisions of a workload have a link to another of the project, by its name; it is never changed.  It belongs to its workload's lock."""

    __tablename__ = "link"
    __table_args__ = (
        Index("link_pair", "workload_id", "target", unique=True),
        Index("link_to", "project", "target"),
    )
    id: str = Field(primary_key=True)
    project: str
    workload_id: str
    target: str


class LinkTargetRow(Row, table=True):
    """A workload's name to which others have links, and what the ingresses were told of it; only the relay writes it."""

    __tablename__ = "link_target"
    __table_args__ = (
        Index("link_target_name", "project", "name", unique=True),
        Index("link_target_unpublished", "id", postgresql_where=text("unpublished")),
    )
    id: str = Field(primary_key=True)
    project: str
    name: str
    document: dict[str, Any] = document()
    number: int = 0
    unpublished: bool = False
    version: int = 1


class LinkTouchRow(Row, table=True):
    """Something changed of a workload that others have links to, or of one of those: looked at by the relay, then deleted."""

    __tablename__ = "link_touch"
    id: str = Field(primary_key=True)
    project: str
    target: str


class WakeUpRow(Row, table=True):
    """A workload whose instances need a place: sent to the scheduler, then deleted."""

    __tablename__ = "wake_up"
    id: str = Field(primary_key=True)
    workload_id: str
    created_at: datetime = moment()


class AuditRow(AuditColumns, Row, table=True):
    """Who changed what; written in the transaction of the change."""

    __tablename__ = "audit"
    at: datetime = moment(index=True)


class SreCredentialRow(Row, table=True):
    """Who may hear alerts at the bus itself; only its public key is kept.  A name is free again once its credential is revoked."""

    __tablename__ = "sre_credential"
    __table_args__ = (
        Index("sre_credential_name", "name", unique=True, postgresql_where=text("revoked_at is null")),
    )
    id: str = Field(primary_key=True)
    name: str
    nkey: str
    project: str | None = None
    may_order: bool = False
    created_by: str
    created_at: datetime = moment()
    expires_at: datetime = moment()
    revoked_at: datetime | None = moment(nullable=True)
    version: int = 1


class IdempotencyRow(Row, table=True):
    """The answer that a key was given: `id` is `<actor>/<key>`."""

    __tablename__ = "idempotency"
    id: str = Field(primary_key=True)
    request_hash: str
    reply: dict[str, Any] = document()
    created_at: datetime = moment()


TABLES: tuple[type[Row], ...] = (
    ClusterRow,
    JoinTokenRow,
    NodeRow,
    NodePresenceRow,
    ProjectRow,
    AppRow,
    WorkloadRow,
    RevisionRow,
    InstanceRow,
    JobRunRow,
    RolloutRow,
    RouteRow,
    LinkRow,
    LinkTargetRow,
    LinkTouchRow,
    OperationRow,
    VolumeRow,
    SecretRow,
    SecretVersionRow,
    SealedCopyRow,
    FactRow,
    FactHeadRow,
    WakeUpRow,
    AuditRow,
    SreCredentialRow,
    IdempotencyRow,
)

# Who locks several rows takes them in this order, so that two never wait for each other.  Rollouts belong to their workload's lock, runs of
# jobs to one by name that comes after all rows (`job_runs`).
LOCK_ORDER: tuple[type[Row], ...] = (
    ClusterRow,
    WorkloadRow,
    NodeRow,
    InstanceRow,
    VolumeRow,
    OperationRow,
)

MIGRATIONS = Migrations(schema=SCHEMA, folder=Path(__file__).with_name("migrations"), metadata=metadata)
