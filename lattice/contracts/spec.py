"""A workload as people write it.  Unknown fields are refused, amounts may be written as `512Mi`, `0.5`, `30s`.

The same model serves the REST body, the YAML file and the stored revision.  Only options that Lattice honours are here: a field that
would be ignored is a field that is refused.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from lattice import cron
from lattice.contracts.domain_name import DomainName
from lattice.contracts.environment_spec import CredentialRef, EnvName, EnvValue, SecretRef, no_nul
from lattice.contracts.guard_spec import GuardSpec
from lattice.contracts.link_spec import LinkSpec, PortNumber
from lattice.contracts.nouns import Name
from lattice.contracts.placement_spec import PlacementSpec
from lattice.contracts.quantities import CpuMillis, DurationS, SizeBytes
from lattice.contracts.spec_model import SpecModel

MAX_REPLICAS = 100
# name[:tag][@digest] with an optional registry host; case and character rules of the distribution reference grammar.
IMAGE_PATTERN = (
    r"^(?:[a-zA-Z0-9.-]+(?::[0-9]{1,5})?/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[a-f0-9]{64})?$(?!\n)"
)


def _absolute(path: str) -> str:
    if not path.startswith("/") or ".." in PurePosixPath(path).parts or ":" in path or path == "/":
        raise ValueError("write an absolute path inside the container, without '..' or ':', other than '/'")
    return path


Argument = Annotated[str, Field(max_length=4_096), AfterValidator(no_nul)]
ContainerPath = Annotated[str, Field(min_length=2, max_length=512), AfterValidator(_absolute)]


class Kind(StrEnum):
    SERVICE = "service"
    JOB = "job"  # runs to its end: once when it is accepted, or as its schedule says


class PortProtocol(StrEnum):
    HTTP = "http"
    TCP = "tcp"
    TLS = "tls"  # with a certificate of its own: passed on unread, by the name that clients ask for


class PullPolicy(StrEnum):
    MISSING = "missing"
    ALWAYS = "always"
    NEVER = "never"


class Condition(StrEnum):
    """What an instance waits for in another workload before it is made."""

    STARTED = "started"
    HEALTHY = "healthy"
    COMPLETED = "completed"  # every instance has ended by itself, with 0


class RestartMode(StrEnum):
    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    NEVER = "never"


class PortSpec(SpecModel):
    """A port on which the container listens; it is published on a free loopback port of the node, or on `host_port`."""

    name: Name
    port: PortNumber
    protocol: PortProtocol = PortProtocol.HTTP
    host_port: Annotated[int, Field(ge=1024, le=65535, strict=True)] | None = Field(
        None, description="always this port of the node; only where the owner of the node allows it"
    )
    public: bool = Field(False, description="reached by a public name (http) or port (tcp), from any network")
    plaintext: bool = Field(
        False, description="of a public tcp port: it may serve no TLS, and whoever is on the way reads along"
    )

    guard: GuardSpec | None = Field(None, description="of a public http port: who may come in")
    domains: Annotated[tuple[DomainName, ...], Field(max_length=16)] = Field(
        (), description="of a public http or tls port: names of your own that lead here, once DNS says so"
    )

    @model_validator(mode="after")
    def _domains_are_of_public_names(self) -> Self:
        if self.domains and not (self.public and self.protocol is not PortProtocol.TCP):
            raise ValueError(
                f"domains of port {self.name} lead nowhere: they are for http and tls ports that are public"
            )
        return self

    @model_validator(mode="after")
    def _guards_public_http(self) -> Self:
        if self.guard is not None and not (self.public and self.protocol is PortProtocol.HTTP):
            raise ValueError(
                f"guard of port {self.name} guards nothing: it is for http ports that are public"
            )
        return self

    @model_validator(mode="after")
    def _plaintext_is_of_public_tcp(self) -> Self:
        if self.plaintext and not (self.public and self.protocol is PortProtocol.TCP):
            raise ValueError(
                f"plaintext of port {self.name} says nothing: it is for tcp ports that are public"
            )
        return self


class VolumeSpec(SpecModel):
    """A volume of the workload: it outlives the workload and stays on its node."""

    name: Name
    path: ContainerPath
    size: SizeBytes = 2**30


class ResourceSpec(SpecModel):
    """What an instance may use at most, and what is reserved for it on its node."""

    cpu: CpuMillis = Field(500, ge=10, description="cores")
    memory: SizeBytes = Field(512 * 2**20, ge=6 * 2**20, description="the Engine accepts no less than 6 MiB")
    pids: Annotated[int, Field(ge=1, le=32_768, strict=True)] = 512


class HttpCheck(SpecModel):
    """Healthy when a GET on this port and path answers 2xx or 3xx."""

    port: Name
    path: Annotated[str, Field(pattern=r"^/[^\s\x00]*$(?!\n)", max_length=1024)] = "/"


class TcpCheck(SpecModel):
    """Healthy when this port accepts a connection."""

    port: Name


class ExecCheck(SpecModel):
    """Healthy when this command, run inside the container, exits with 0."""

    command: Annotated[tuple[Argument, ...], Field(min_length=1, max_length=64)]


class HealthSpec(SpecModel):
    """How to tell that an instance works: exactly one of `http`, `tcp`, `exec`."""

    http: HttpCheck | None = None
    tcp: TcpCheck | None = None
    exec: ExecCheck | None = None
    interval: DurationS = Field(5.0, ge=0.2, le=3600)
    timeout: DurationS = Field(2.0, ge=0.1, le=300)
    start_period: DurationS = Field(30.0, le=3600)
    retries: Annotated[int, Field(ge=1, le=100, strict=True)] = 3

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if [self.http, self.tcp, self.exec].count(None) != 2:
            raise ValueError("give exactly one of http, tcp, exec")
        return self


class BackoffSpec(SpecModel):
    """The pause before a restart doubles from `initial` to `max`."""

    initial: DurationS = Field(1.0, ge=0.1, le=3600)
    max: DurationS = Field(300.0, ge=0.1, le=86_400)


class RestartSpec(SpecModel):
    """What the agent does when the container ends by itself."""

    policy: RestartMode = RestartMode.ALWAYS
    backoff: BackoffSpec = BackoffSpec()
    # The default pauses reach their maximum after 8.5 minutes of failing.
    reschedule_after: Annotated[DurationS, Field(ge=1, le=86_400)] | None = Field(
        600,
        description="after so long of failing on one node an instance without a volume is replaced on another; null: never",
    )


class Overlap(StrEnum):
    """What becomes of a run that is due while the one before is still under way."""

    FORBID = "forbid"
    ALLOW = "allow"


class CatchUp(StrEnum):
    """What becomes of times at which nobody could run the job."""

    NONE = "none"
    LAST = "last"


def _known_schedule(text: str) -> str:
    cron.parse(text)
    return text


def _known_zone(name: str) -> str:
    cron.zone(name)
    return name


class ScheduleSpec(SpecModel):
    """When a job runs: five cron fields, read on the wall clock of a time zone."""

    cron: Annotated[str, Field(max_length=128), AfterValidator(_known_schedule)]
    timezone: Annotated[str, Field(max_length=64), AfterValidator(_known_zone)] = "UTC"
    overlap: Overlap = Field(Overlap.FORBID, description="whether runs may be under way beside each other")
    catch_up: CatchUp = Field(
        CatchUp.NONE, description="whether the newest missed run is made up for when its node is back"
    )


class JobSpec(SpecModel):
    """How long a run of a job may take, and how often it is tried again (with `restart.policy: on-failure`)."""

    deadline: Annotated[DurationS, Field(ge=1)] | None = None
    retries: Annotated[int, Field(ge=0, le=100, strict=True)] = 3


class UpdateOrder(StrEnum):
    START_FIRST = "start-first"
    STOP_FIRST = "stop-first"


class UpdateSpec(SpecModel):
    """How a new revision takes the place of the old one.  With a volume it is always stop-first."""

    order: UpdateOrder = UpdateOrder.START_FIRST
    max_unavailable: Annotated[int, Field(ge=0, le=MAX_REPLICAS, strict=True)] = 0
    auto_rollback: bool = Field(default=True, description="go back by itself when a new instance fails")
    healthy_deadline: Annotated[DurationS, Field(ge=1)] = Field(
        120, description="how long a new instance may take to become healthy"
    )
    healthy_for: DurationS | None = Field(
        None,
        le=3600,
        description="how long a new instance must stay healthy to count; without a health check 5 s, else 0",
    )


class NodeLossMode(StrEnum):
    MOVE = "move"
    STAY = "stay"


class NodeLossSpec(SpecModel):
    """What becomes of instances on a node that cannot be reached.  One with a volume is held, whatever stands here."""

    stateless: NodeLossMode = NodeLossMode.MOVE
    lost_after: Annotated[DurationS, Field(ge=1)] = Field(
        60, description="how long the node may be away first"
    )


class WorkloadSpec(SpecModel):
    """A named thing that a project wants running: from a template or from an image."""

    name: Name
    kind: Kind = Kind.SERVICE
    template: Name | None = None
    image: Annotated[str, Field(pattern=IMAGE_PATTERN, max_length=512)] | None = None
    values: Annotated[dict[Annotated[str, Field(max_length=64)], Any], Field(max_length=64)] = {}
    replicas: Annotated[int, Field(ge=0, le=MAX_REPLICAS, strict=True)] = 1
    env: Annotated[dict[EnvName, EnvValue], Field(max_length=256)] = {}
    secrets: Annotated[dict[EnvName, SecretRef], Field(max_length=64)] = {}
    command: Annotated[tuple[Argument, ...], Field(max_length=256)] | None = None
    entrypoint: Annotated[tuple[Argument, ...], Field(min_length=1, max_length=256)] | None = Field(
        None, description="in place of the image's; the image's command is then not used either"
    )
    ports: Annotated[tuple[PortSpec, ...], Field(max_length=32)] = ()
    volumes: Annotated[tuple[VolumeSpec, ...], Field(max_length=16)] = ()
    resources: ResourceSpec | None = None
    health: HealthSpec | None = Field(
        None, description="readiness: gates deploys and updates; never restarts anything"
    )
    liveness: HealthSpec | None = Field(
        None, description="restarts the container when it fails `retries` times in a row"
    )
    restart: RestartSpec = RestartSpec()
    update: UpdateSpec = UpdateSpec()
    placement: PlacementSpec = PlacementSpec()
    on_node_loss: NodeLossSpec = NodeLossSpec()
    depends_on: Annotated[dict[Name, Condition], Field(max_length=32)] = Field(
        {},
        description="workloads of the project that come first: a new instance is made when they are so far",
    )
    links: Annotated[tuple[LinkSpec, ...], Field(max_length=16)] = Field(
        (), description="names inside its containers for other workloads, on whatever node these are"
    )
    pull: PullPolicy = PullPolicy.MISSING
    pull_secret: Name | None = Field(None, description="a secret `user:password` for the image's registry")
    schedule: ScheduleSpec | None = Field(None, description="of a job; without one it runs once")
    job: JobSpec | None = Field(None, description="limits of a job's runs")

    @model_validator(mode="before")
    @classmethod
    def _jobs_rest(cls, given: Any) -> Any:
        """A job that has ended is done: where nothing else is said, it is not started again."""
        if isinstance(given, dict) and given.get("kind") == Kind.JOB:
            restart = given.get("restart") or {}
            if isinstance(restart, dict) and "policy" not in restart:
                return given | {"restart": restart | {"policy": RestartMode.NEVER}}
        return given

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.kind is Kind.SERVICE:
            for name in ("schedule", "job"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} is for jobs only; write `kind: job`")
            return self
        if self.template not in (None, "custom"):
            raise ValueError("a template is a service; a job is made from an image")
        if self.restart.policy is RestartMode.ALWAYS:
            raise ValueError(
                "restart.policy of a job is never or on-failure; when it runs, its schedule says"
            )
        if self.replicas != 1:
            raise ValueError("replicas of a job is 1: each of its runs is one container")
        if self.health is not None:
            raise ValueError("health is for services; a job's runs are judged by how they end")
        if self.schedule and self.schedule.overlap is Overlap.ALLOW and (self.ports or self.volumes):
            raise ValueError(
                "schedule.overlap: runs beside each other cannot share ports or volumes; write forbid, or leave these out"
            )
        return self

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.image is not None and self.template is not None and self.template != "custom":
            raise ValueError("give template or image, not both")
        if self.image is None and self.template is None:
            raise ValueError("give template or image")
        return self

    @model_validator(mode="after")
    def _unique_names(self) -> Self:
        for what, names in (
            ("port", [p.name for p in self.ports]),
            ("port number", [str(p.port) for p in self.ports]),
            ("host port", [str(p.host_port) for p in self.ports if p.host_port is not None]),
            ("volume", [v.name for v in self.volumes]),
            ("volume path", [v.path for v in self.volumes]),
            ("variable", [*self.env, *self.secrets]),
            ("link", [link.host for link in self.links]),
        ):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{what} {twice[0]!r} is given twice")
        return self

    @model_validator(mode="after")
    def _not_on_itself(self) -> Self:
        if self.name in self.depends_on:
            raise ValueError(f"{self.name} cannot depend on itself")
        if self.name in self.lenders:
            raise ValueError(f"{self.name} cannot have its own credentials")
        if self.name in self.linked:
            raise ValueError(f"{self.name} cannot have a link to itself")
        return self

    @property
    def plain_env(self) -> dict[str, str]:
        """The variables whose values stand here."""
        return {name: value for name, value in self.env.items() if isinstance(value, str)}

    @property
    def borrowed_env(self) -> dict[str, CredentialRef]:
        """The variables that hold credentials of other workloads."""
        return {name: value for name, value in self.env.items() if isinstance(value, CredentialRef)}

    @property
    def lenders(self) -> frozenset[str]:
        """The names of the workloads whose credentials it has."""
        return frozenset(ref.from_ for ref in self.borrowed_env.values())

    @property
    def linked(self) -> frozenset[str]:
        """The names of the workloads that it has links to."""
        return frozenset(link.workload for link in self.links)

    @model_validator(mode="after")
    def _known_health_port(self) -> Self:
        if self.template is None:
            self.check_ports_of_checks({port.name for port in self.ports})
        return self

    def check_ports_of_checks(self, known: Collection[str]) -> None:
        """ValueError where a check asks a port that is not among `known`."""
        for name, spec in (("health", self.health), ("liveness", self.liveness)):
            check = spec and (spec.http or spec.tcp)
            if check and check.port not in known:
                raise ValueError(f"{name} names port {check.port!r}, which is not in ports")

    @model_validator(mode="after")
    def _liveness_restarts(self) -> Self:
        if self.liveness is not None and self.restart.policy is RestartMode.NEVER:
            raise ValueError(
                "liveness restarts the container, and restart.policy never forbids that: leave one of them out"
            )
        return self
