"""The words of the glossary as types: states, names, amounts, nodes, instances.

All models are frozen.  Readers ignore fields that they do not know (a newer peer may send more); what people write is checked strictly
in `spec`.
"""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

# Python's `$` also matches before a newline at the end; `(?!\n)` shuts that door and means nothing to ECMA's dialect.
NODE_ID_PATTERN = r"^[a-z0-9][a-z0-9-]{0,62}$(?!\n)"
# A name becomes part of a host name `<workload>--<project>`: so no `--` inside and no hyphen at the end.
NAME_PATTERN = r"^[a-z](?:[a-z0-9]|-(?=[a-z0-9])){1,27}$(?!\n)"

NodeId = Annotated[str, Field(pattern=NODE_ID_PATTERN)]
# JSON Schema's regular expressions know look-ahead too (ECMA 262); pydantic's default engine does not, hence `regex_engine` below.
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Id = Annotated[str, Field(pattern=NODE_ID_PATTERN)]

# Neither JSON nor Postgres carries a NUL or half a surrogate pair.
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def storable(text: object) -> object:
    """Text in which what cannot be stored has become U+FFFD."""
    return UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text) if isinstance(text, str) else text


# What containers and the Engine said: they may say anything, and one NUL must not keep a whole report from being stored.
Said = Annotated[str, BeforeValidator(storable)]


class Noun(BaseModel):
    """A frozen value that crosses process borders."""

    model_config = ConfigDict(frozen=True, extra="ignore", regex_engine="python-re")


class Membership(StrEnum):
    """Whether a machine belongs to the platform: decided by people only."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    REVOKED = "revoked"


class Liveness(StrEnum):
    """What the registry concludes from a node's heartbeats."""

    JOINING = "joining"  # approved, but its first complete observed document has not come yet
    READY = "ready"
    SUSPECT = "suspect"
    UNREACHABLE = "unreachable"


class NodeState(StrEnum):
    """The one word shown for a node; see `states.node_state`."""

    PENDING = "pending"
    JOINING = "joining"
    READY = "ready"
    SUSPECT = "suspect"
    UNREACHABLE = "unreachable"
    DRAINING = "draining"
    CORDONED = "cordoned"
    REJECTED = "rejected"
    REVOKED = "revoked"


class Phase(StrEnum):
    """How far an instance has come.  Moves forward only, over all attempts of the agent (see `states.furthest`)."""

    PENDING = "pending"
    PULLING = "pulling"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


class Health(StrEnum):
    """What the health check of a running instance says; moves either way."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


class Reachability(StrEnum):
    """Whether the instance's node can be heard; derived from the node."""

    OK = "ok"
    LOST = "lost"
    HELD = "held"  # its node is lost and it has a volume: it is never started empty elsewhere


class InstanceState(StrEnum):
    """The one word shown for an instance; see `states.instance_state`."""

    PENDING = "pending"
    PULLING = "pulling"
    STARTING = "starting"
    RUNNING = "running"
    UNHEALTHY = "unhealthy"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"
    HELD = "held"
    LOST = "lost"


class WorkloadState(StrEnum):
    """The one word shown for a workload; see `states.workload_state`."""

    PENDING = "pending"
    DEPLOYING = "deploying"
    RUNNING = "running"
    DEGRADED = "degraded"
    FAILED = "failed"
    STOPPING = "stopping"
    STOPPED = "stopped"
    REMOVING = "removing"


class DesiredState(StrEnum):
    """What the user wants of a workload or of one instance."""

    RUNNING = "running"
    STOPPED = "stopped"
    REMOVED = "removed"


class OperationState(StrEnum):
    """Where an operation stands."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in (OperationState.SUCCEEDED, OperationState.FAILED, OperationState.CANCELLED)


class RolloutState(StrEnum):
    """Where an update stands."""

    RUNNING = "running"
    ROLLING_BACK = "rolling_back"
    SUCCEEDED = "succeeded"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"
    SUPERSEDED = "superseded"  # a newer command decides

    @property
    def ended(self) -> bool:
        return self not in (RolloutState.RUNNING, RolloutState.ROLLING_BACK)


class RunTrigger(StrEnum):
    """Why a job runs."""

    SCHEDULE = "schedule"
    MANUAL = "manual"  # somebody asked for it
    DEPLOY = "deploy"  # a job without a schedule was accepted


class JobRunState(StrEnum):
    """Where a run of a job stands."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"  # it was due and nothing was started; the reason says why

    @property
    def ended(self) -> bool:
        return self not in (JobRunState.PENDING, JobRunState.RUNNING)


class VolumeState(StrEnum):
    """Whether a volume is in use."""

    BOUND = "bound"
    RELEASED = "released"  # its workload is gone; data and credentials are kept
    HELD = "held"  # its node is lost


class Role(StrEnum):
    """Rights of a user in a project, each containing the ones before it."""

    VIEWER = "viewer"
    DEPLOYER = "deployer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def allows(self, required: Role) -> bool:
        """Whether this role contains `required`."""
        order = list(Role)
        return order.index(self) >= order.index(required)


class Amounts(Noun):
    """An amount of a node's resources: its capacity, a reservation, or what is in use."""

    cpu_millis: int = 0
    memory_bytes: int = 0
    disk_bytes: int = 0


class LocalImage(Noun):
    """An image that a node holds: every tag and digest reference of it, and its content id."""

    id: str
    references: tuple[str, ...] = ()


class PortRange(Noun):
    """Ports of a node, both ends included."""

    first: int
    last: int


class OwnerPolicy(Noun):
    """What the owner of a node allows there, as its agent tells it.  Null stands for no limit."""

    file: str = Field("", description="where it is written, on the node")
    problem: Said = Field("", description="why the file cannot be used; then the node takes no new work")
    pools: tuple[str, ...] | None = None
    images: tuple[str, ...] | None = Field(None, description="patterns such as `docker.io/library/*`")
    host_ports: tuple[PortRange, ...] = Field((), description="the fixed host ports that may be asked for")
    cpu_millis: int | None = None
    memory_bytes: int | None = None
    disk_bytes: int | None = None
    hours: str = Field("", description="when new work may begin, for people; empty: always")
    open_now: bool = Field(True, description="whether the hours allow new work at this moment")


class Inventory(Noun):
    """What a node is: reported at enrolment and with each observed document."""

    hostname: str = ""
    arch: str = "amd64"
    os: str = ""
    kernel: str = ""
    docker_version: str = ""
    agent_version: str = ""
    capacity: Amounts = Amounts()
    images: tuple[LocalImage, ...] = ()
    policy: OwnerPolicy | None = Field(None, description="null where the owner wrote none")


class PortMapping(Noun):
    """One published port: the container's, and where it answers on the node."""

    name: str
    container_port: int
    protocol: str = "tcp"
    host_ip: str = "127.0.0.1"
    host_port: int


class ContainerKey(Noun):
    """Names one container for all time: which slot of which workload, and the epoch that the registry gave it."""

    workload_id: Id
    slot: int
    epoch: int

    def container_name(self, cluster_id: str) -> str:
        """The Engine refuses a second container of this name: that is the mutex and the idempotency key."""
        return f"lattice-{cluster_id}-{self.workload_id}-{self.slot}-{self.epoch}"


class LastExit(Noun):
    """How the container of an instance ended last: also while it runs again, or when the container is gone."""

    at: datetime
    reason: Said
    exit_code: int | None = Field(None, description="null where nobody saw it end: its container vanished")
    signal: str = Field("", description="the signal's name where one ended it: `SIGKILL`")
    oom_killed: bool = False
    log: tuple[Said, ...] = Field((), description="the last lines that it printed")
    instance_id: str = Field(
        "", description="whose container it was: perhaps of the instance before this one"
    )
    container_id: str = ""
    node: str = Field("", description="where it was, if not on the node of this instance")


class ObservedContainer(Noun):
    """What the agent sees of one container of this cluster, or of one that it is about to make."""

    key: ContainerKey
    instance_id: str = ""
    phase: Phase
    health: Health = Health.UNKNOWN
    reason: Said = ""
    progress: Said = Field(
        "", description="for people, while something takes long: `pulling postgres:16: 41 %`"
    )
    container_id: str = ""
    image_id: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int | None = None
    oom_killed: bool = False
    ended: bool = Field(False, description="it ended by itself, and its restart policy leaves it so")
    restarts: int = 0
    ports: tuple[PortMapping, ...] = ()
    last_log: tuple[Said, ...] = ()
    last_exit: LastExit | None = None
    failing_since: datetime | None = Field(
        None, description="since when it has not run for long enough to be trusted again"
    )


class JobRun(Noun):
    """One run of a job, as the agent that made it tells of it.

    `run_id` is the instant that a schedule named, or the id of the request; with `key` it names the run for all time.
    """

    run_id: str
    key: ContainerKey
    instance_id: Id
    trigger: RunTrigger
    scheduled_at: datetime
    state: JobRunState = JobRunState.PENDING
    reason: Said = ""
    attempts: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int | None = None
    container_id: str = ""
    last_log: tuple[Said, ...] = ()
    serial: int = Field(
        0, description="rises with each change of a run on its node, so that it is told until it is known"
    )


class QuarantinedContainer(Noun):
    """A container that carries this cluster's label and that no document knows: shown, never deleted."""

    name: str
    container_id: str
    labels: dict[str, str] = {}
    running: bool = False
