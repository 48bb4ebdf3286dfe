"""What the agent needs from a container engine, whatever it is: `agent.docker_runtime` does it with Docker, `testing.FakeRuntime` in memory.

Everything here is a frozen value, and `ContainerOptions` holds the only options that can reach the Engine: what has no field here (privileges,
host namespaces, devices, other people's paths) cannot be asked for.  Every method but the streams has a deadline of its own, because an Engine
that hangs answers nothing for ever: it then raises `EngineHangs`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from lattice.contracts.nouns import LocalImage
from lattice.runtime_errors import EarlierRunLeft as EarlierRunLeft
from lattice.runtime_errors import EngineAway as EngineAway
from lattice.runtime_errors import EngineHangs as EngineHangs
from lattice.runtime_errors import ImageDenied as ImageDenied
from lattice.runtime_errors import ImageNotFound as ImageNotFound
from lattice.runtime_errors import NoSpace as NoSpace
from lattice.runtime_errors import PortTaken as PortTaken


class RunState(StrEnum):
    """What the Engine says of a container, in its own words."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedPort:
    """A port of the container that answers on the node's loopback address."""

    container_port: int
    host_port: int
    host_ip: str = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeMount:
    """A named volume at a path inside the container."""

    volume: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileBind:
    """One file of the node, read-only at a path inside the container; only files that the agent made itself."""

    source: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnedFile:
    """A file that is to belong to a user of a container: `name` is a plain name in its folder, `mode` the permission bits."""

    name: str
    content: bytes = field(repr=False)  # may be a secret
    uid: int
    gid: int
    mode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerOptions:
    """All that can be said about a container that is to be made."""

    name: str
    image: str
    labels: Mapping[str, str]
    network: str
    aliases: tuple[str, ...] = ()
    joins: tuple[str, ...] = ()  # more networks, in which it has no name of its own
    hosts: Mapping[str, str] = field(default_factory=dict)  # names that it knows, with their addresses
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold secrets
    ports: tuple[PublishedPort, ...] = ()
    volumes: tuple[VolumeMount, ...] = ()
    files: tuple[FileBind, ...] = ()
    cpu_millis: int
    memory_bytes: int
    pids: int
    stop_timeout_s: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container as the Engine shows it."""

    id: str
    name: str
    image_id: str
    labels: Mapping[str, str]
    state: RunState
    exit_code: int | None = None
    oom_killed: bool = False
    error: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    ports: tuple[PublishedPort, ...] = ()
    ip: str = ""
    networks: tuple[str, ...] = ()
    addresses: Mapping[str, str] = field(default_factory=dict)  # by network, while it runs
    stop_timeout_s: int = 10
    pid: int = 0  # of its first process on the node, while it runs; 0 where that is not known
    log_path: str = (
        ""  # the file that the Engine writes its log into, on the node; it may not be ours to read
    )

    @property
    def is_up(self) -> bool:
        """Whether its processes exist; a paused container holds its memory and its ports too."""
        return self.state in (RunState.RUNNING, RunState.PAUSED, RunState.RESTARTING)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryAuth:
    """Who we are to an image's registry."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """What the Engine says of itself and its machine."""

    version: str
    arch: str
    os: str
    kernel: str
    cpus: int
    memory_bytes: int
    data_dir: str = ""
    storage_driver: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineEvent:
    """Something happened to a container of this cluster (`die`, `oom`, `start`, `destroy` …)."""

    action: str
    container_id: str
    name: str
    labels: Mapping[str, str]
    at_ns: int
    exit_code: int | None = None


LISTENING = EngineEvent(action="listening", container_id="", name="", labels={}, at_ns=0)
"""The first event of every stream: from here on nothing is missed, so what was there before is to be listed now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerStats:
    """What a container uses right now; all but memory and processes only ever grows while it runs."""

    cpu_total_ns: int
    memory_bytes: int
    pids: int
    received_bytes: int = 0
    sent_bytes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    throttled_ns: int = 0


@dataclass(frozen=True, slots=True)
class LogPiece:
    """What a container wrote at one time: a line, or a part of a line when `text` has no newline at its end."""

    stream: str
    time_ns: int
    text: bytes


@dataclass(frozen=True, slots=True)
class ExecOutput:
    """Bytes that a command inside a container printed, to `stdout` or `stderr`."""

    stream: str
    data: bytes


class ExecProcess(Protocol):
    """A command that runs inside a container."""

    async def read(self) -> ExecOutput | None:
        """The next output, or None when there will be no more."""

    async def write(self, data: bytes) -> None:
        """Give it input."""

    async def close_stdin(self) -> None:
        """Tell it that there is no more input."""

    async def resize(self, *, rows: int, columns: int) -> None:
        """Tell its terminal's size."""

    async def exit_code(self) -> int | None:
        """Its exit code, or None while it runs."""

    async def close(self) -> None:
        """Let go of it; a command that still runs is ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecOptions:
    """How a command is run inside a container: argv, never a shell's line."""

    argv: tuple[str, ...]
    tty: bool = False
    stdin: bool = False


class Runtime(Protocol):
    """Containers, images, networks and volumes of one node, as far as Lattice needs them."""

    async def containers(self, cluster_id: str) -> tuple[Container, ...]:
        """Every container, running or not, that carries this cluster's label."""

    async def container(self, name: str) -> Container | None:
        """One container by name or id."""

    async def image_id(self, reference: str) -> str | None:
        """The content id of an image that the node holds, by reference or id."""

    async def pull(
        self, reference: str, *, progress: Callable[[str], None], auth: RegistryAuth | None = None
    ) -> None:
        """Fetch an image; `progress` hears how far it is, in words for people.  Raises ImageNotFound, ImageDenied, NoSpace, Temporary."""

    async def images(self) -> tuple[LocalImage, ...]:
        """The images that the node holds."""

    async def images_in_use(self) -> frozenset[str]:
        """The content ids of the images of every container on the Engine, running or not, whoever made it."""

    async def remove_image(self, reference: str) -> None:
        """Take one name (or the id of an image without a name) away, and the image with its last name.  Never by force: raises Conflict
        while a container uses it.  One that is gone is fine."""

    async def ensure_network(self, name: str, labels: Mapping[str, str]) -> str:
        """Make a bridge network of its own, unless there is one of this name; returns the node's address in it."""

    async def remove_network(self, name: str) -> None:
        """Remove a network; one that is gone, or still in use, is left alone."""

    async def ensure_volume(
        self, name: str, labels: Mapping[str, str], *, size_bytes: int | None = None
    ) -> None:
        """Make a named volume, unless there is one; it holds at most `size_bytes` where the disk has quotas for folders."""

    async def volumes(self, cluster_id: str) -> Mapping[str, Mapping[str, str]]:
        """name -> labels of every volume that carries this cluster's label."""

    async def remove_volume(self, name: str) -> None:
        """Remove a volume with its data; one that is gone is fine.  Raises Conflict while a container uses it."""

    async def give_files(
        self, folder: Path, files: Sequence[OwnedFile], *, image: str, cluster_id: str
    ) -> None:
        """Write files into a folder of the agent's own, under owners that only the Engine may give; `image` is any that is on the node."""

    async def create(self, options: ContainerOptions) -> Container:
        """Make a container; if one of this name exists, that one is meant (names are unique for all time).  Raises ImageNotFound, Invalid."""

    async def start(self, name: str) -> Container:
        """Start a container; one that runs is left alone.  Raises NotFound, PortTaken."""

    async def stop(self, name: str, *, timeout_s: int) -> Container:
        """Ask it to end, and end it after `timeout_s`; one that has ended is left alone.  Raises NotFound."""

    async def remove(self, name: str) -> None:
        """Remove a container; its named volumes stay.  One that is gone is fine."""

    async def exec(self, name: str, options: ExecOptions) -> ExecProcess:
        """Run a command inside a running container.  Raises NotFound, Conflict if it does not run."""

    def logs(self, name: str, *, since_ns: int = 0, follow: bool = True) -> AsyncIterator[list[LogPiece]]:
        """What it wrote at or after `since_ns`, oldest first, in batches; with `follow` until it ends."""

    async def stats(self, name: str) -> ContainerStats:
        """What it uses right now."""

    async def info(self) -> EngineInfo:
        """What the Engine says of itself; also the proof that it answers."""

    def events(self, cluster_id: str) -> AsyncIterator[EngineEvent]:
        """`LISTENING`, then what happens from now on; ends or raises Temporary when the Engine goes away, and then history is lost: list again."""

    async def close(self) -> None:
        """Let go of the connection."""
