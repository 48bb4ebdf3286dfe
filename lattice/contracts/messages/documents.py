"""What a node must run: from the registry to an agent, as one document."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from lattice.contracts.nouns import ContainerKey, DesiredState, Id, Name, NodeId, Noun, RunTrigger
from lattice.contracts.spec import (
    BackoffSpec,
    HealthSpec,
    PortProtocol,
    PullPolicy,
    RestartMode,
    ScheduleSpec,
)


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
    host_port: int | None = Field(None, description="the node's port; null: any that is free")


class RunVolume(Noun):
    volume_id: Id
    name: str
    path: str
    size_bytes: int


class RunLinkPort(Noun):
    """A port of the workload that a link leads to, and its number inside the container that has the link."""

    at: int
    container_port: int


class RunLink(Noun):
    """Host names inside the container that lead to another workload of the project."""

    workload: Name
    hosts: tuple[str, ...]
    ports: tuple[RunLinkPort, ...]


class JobOrder(Noun):
    """What makes an instance a job: when it runs by itself, how long a run may take, how often it is tried again."""

    schedule: ScheduleSpec | None = None
    deadline_s: float | None = None
    retries: int = 0


class RunRequest(Noun):
    """A run that was asked for; repeated until the registry has heard how it ended."""

    run_id: Id
    trigger: RunTrigger
    requested_at: datetime


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
    network: str | None = Field(
        None, description="a network of its own, for all who name it; None for the project's"
    )
    aliases: tuple[str, ...] = Field((), description="host names there beside the workload's name")
    joins: tuple[str, ...] = Field(
        (), description="more networks that it reaches others in; it has no name there"
    )
    env: dict[str, str] = {}
    secret_env: dict[str, str] = Field({}, description="variable -> secret_id")
    files: tuple[FileMount, ...] = ()
    ports: tuple[RunPort, ...] = ()
    links: tuple[RunLink, ...] = ()
    volumes: tuple[RunVolume, ...] = ()
    cpu_millis: int
    memory_bytes: int
    pids: int
    health: HealthSpec | None = None
    liveness: HealthSpec | None = None
    restart: RestartMode = RestartMode.ALWAYS
    backoff: BackoffSpec = BackoffSpec()
    stop_timeout_s: int = 10
    job: JobOrder | None = Field(None, description="set where the container is to end; null for a service")

    @property
    def host_ports(self) -> tuple[int, ...]:
        """The fixed host ports, in order."""
        return tuple(sorted(port.host_port for port in self.ports if port.host_port is not None))


class DesiredInstance(Noun):
    """One instance that a node must have, running or stopped."""

    key: ContainerKey
    instance_id: Id
    workload_name: str
    project: Name
    revision: int
    desired: Literal[DesiredState.RUNNING, DesiredState.STOPPED]
    run: RunSpec
    since: datetime | None = Field(None, description="a job's schedule counts from here")
    run_requests: tuple[RunRequest, ...] = ()


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
    pool: str = Field("", description="the node's; empty in documents of an earlier version")
    remove_volumes: tuple[Id, ...] = Field(
        (), description="volumes whose removal was ordered; repeated until seen done"
    )
    runs_known: int = Field(
        0, description="runs of jobs up to this `serial` are recorded and need not be told again"
    )
    ingresses: tuple[str, ...] = Field((), description="host:port of each ingress that the node dials")

    @property
    def order(self) -> tuple[int, int]:
        """Documents of a node are ordered by this."""
        return (self.era, self.generation)
