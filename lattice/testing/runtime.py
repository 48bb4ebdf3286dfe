"""A container engine in memory that behaves like the real one, with faults to order: it hangs, goes away, refuses, and containers die.

The contract suite runs on it and on Docker.  What it was asked to do is kept in `calls`, so tests can say what must never happen.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lattice.clock import Clock, SystemClock
from lattice.contracts.nouns import LocalImage
from lattice.errors import Conflict, LatticeError, NotFound
from lattice.runtime import (
    LISTENING,
    Container,
    ContainerOptions,
    ContainerStats,
    EngineAway,
    EngineEvent,
    EngineHangs,
    EngineInfo,
    ExecOptions,
    ImageNotFound,
    LogPiece,
    OwnedFile,
    PortTaken,
    RegistryAuth,
    RunState,
)
from lattice.testing.runtime_exec import ExecReply, FakeExec, echo
from lattice.testing.runtime_logs import FakeLogFiles

CLUSTER = "lattice.cluster"


@dataclass
class _Kept:
    """A container and what it was made from."""

    shown: Container
    options: ContainerOptions
    pieces: list[LogPiece] = field(default_factory=list)


class FakeRuntime:
    """A `Runtime` without an Engine.  With `logs_root` it writes log files as the Engine does; without, its logs can only be streamed."""

    def __init__(
        self, *, clock: Clock | None = None, images: tuple[str, ...] = (), logs_root: Path | None = None
    ) -> None:
        self._clock = clock or SystemClock()
        self._log_files = FakeLogFiles(logs_root) if logs_root is not None else None
        self._images = {name: f"sha256:{index:064x}" for index, name in enumerate(images, start=1)}
        self._containers: dict[str, _Kept] = {}
        self._networks: dict[str, dict[str, str]] = {}
        self._addresses: dict[str, str] = {}
        self._volumes: dict[str, dict[str, str]] = {}
        self._listeners: list[tuple[str, asyncio.Queue[EngineEvent | None]]] = []
        self._numbers = itertools.count(1)
        self._changed = asyncio.Event()
        self._failures: dict[str, list[LatticeError]] = {}
        self._gates: dict[str, asyncio.Event] = {}
        self.registry: dict[str, RegistryAuth | None] = {}
        """What can be pulled, and with which credentials."""
        self.exec_reply: ExecReply = echo
        self.hung = False
        """While true no call is answered: each raises EngineHangs, as it would after its deadline."""
        self.away = False
        self.calls: list[tuple[str, str]] = []
        self.given: dict[str, OwnedFile] = {}
        """Path -> the file that was given away there; only root could really do it."""

    # ------------------------------------------------------------------------------------ faults and events to order

    def fail_next(self, call: str, error: LatticeError) -> None:
        """Let the next `call` (`pull`, `create` …) raise `error`; several are raised in order."""
        self._failures.setdefault(call, []).append(error)

    def hold(self, call: str) -> asyncio.Event:
        """Let every `call` wait until the event returned is set."""
        return self._gates.setdefault(call, asyncio.Event())

    def end(self, name: str, *, exit_code: int = 1, oom_killed: bool = False) -> None:
        """Let a container's process end by itself."""
        kept = self._kept(name)
        kept.shown = replace(
            kept.shown,
            state=RunState.EXITED,
            exit_code=exit_code,
            oom_killed=oom_killed,
            finished_at=self._clock.now(),
            ip="",
            addresses={},
        )
        if oom_killed:
            self._tell("oom", kept.shown)
        self._tell("die", kept.shown, exit_code=exit_code)

    def vanish(self, name: str) -> None:
        """Let a container be removed by somebody else."""
        kept = self._containers.pop(self._kept(name).shown.name)
        if self._log_files is not None:
            self._log_files.remove(kept.shown.id)
        self._tell("destroy", kept.shown)

    def write(self, name: str, text: str, *, stream: str = "stdout", time_ns: int | None = None) -> None:
        """Let a container print a line."""
        at_ns = time_ns if time_ns is not None else int(self._clock.now().timestamp() * 1e9)
        kept, piece = self._kept(name), LogPiece(stream, at_ns, text.encode() + b"\n")
        kept.pieces.append(piece)
        if self._log_files is not None:
            self._log_files.write(kept.shown.id, piece)
        self._wake()

    def rotate_log(self, name: str) -> None:
        """Let the Engine begin a new log file for a container; of the older ones two are kept."""
        assert self._log_files is not None, "this engine has no `logs_root`"
        self._log_files.rotate(self._kept(name).shown.id)

    def restart_engine(self) -> None:
        """Do what a restart of the Engine does without live restore: event streams break, containers are ended."""
        for kept in self._containers.values():
            if kept.shown.is_up:
                kept.shown = replace(
                    kept.shown,
                    state=RunState.EXITED,
                    exit_code=137,
                    finished_at=self._clock.now(),
                    ip="",
                    addresses={},
                )
        for _, queue in self._listeners:
            queue.put_nowait(None)
        self._wake()

    def tag(self, reference: str, name: str) -> None:
        """Give an image one more name, as a person would."""
        self._images[name] = self._images[reference]

    def options_of(self, name: str) -> ContainerOptions:
        """What a container was made from."""
        return self._kept(name).options

    # ------------------------------------------------------------------------------------ the Runtime protocol

    async def containers(self, cluster_id: str) -> tuple[Container, ...]:
        await self._enter("containers", cluster_id)
        return tuple(
            kept.shown
            for kept in self._containers.values()
            if kept.shown.labels.get(CLUSTER) == cluster_id
        )  # fmt: skip

    async def container(self, name: str) -> Container | None:
        await self._enter("container", name)
        kept = self._find(name)
        return kept.shown if kept else None

    async def image_id(self, reference: str) -> str | None:
        await self._enter("image_id", reference)
        if reference in self._images.values():
            return reference
        return self._images.get(reference)

    async def pull(
        self, reference: str, *, progress: Callable[[str], None], auth: RegistryAuth | None = None
    ) -> None:
        progress("0 %")
        await self._enter("pull", reference)
        if reference not in self.registry:
            raise ImageNotFound(f"image {reference} does not exist in its registry")
        progress("100 %")
        self._images.setdefault(reference, f"sha256:{next(self._numbers) + 1000:064x}")

    async def images(self) -> tuple[LocalImage, ...]:
        await self._enter("images", "")
        names: dict[str, list[str]] = {}
        for name, image_id in self._images.items():
            names.setdefault(image_id, []).append(name)
        return tuple(LocalImage(id=image_id, references=tuple(held)) for image_id, held in names.items())

    async def images_in_use(self) -> frozenset[str]:
        await self._enter("images_in_use", "")
        return frozenset(kept.shown.image_id for kept in self._containers.values())

    async def remove_image(self, reference: str) -> None:
        await self._enter("remove_image", reference)
        image_id = self._images.get(reference, reference)
        names = [name for name, each in self._images.items() if each == image_id]
        if reference == image_id and len(names) > 1:
            raise Conflict(f"image {image_id} has several names: remove them one by one")
        using = [kept.shown.name for kept in self._containers.values() if kept.shown.image_id == image_id]
        if using and len(names) <= 1:
            raise Conflict(f"image {reference} is in use by {using[0]}")
        for name in names:
            if reference in (name, image_id):
                del self._images[name]

    async def ensure_network(self, name: str, labels: Mapping[str, str]) -> str:
        await self._enter("ensure_network", name)
        self._networks.setdefault(name, dict(labels))
        # A loopback address of its own, so that one can listen there.
        return self._addresses.setdefault(name, f"127.30.0.{len(self._addresses) + 1}")

    async def remove_network(self, name: str) -> None:
        await self._enter("remove_network", name)
        if not any(name in kept.shown.networks for kept in self._containers.values()):
            self._networks.pop(name, None)

    async def ensure_volume(
        self, name: str, labels: Mapping[str, str], *, size_bytes: int | None = None
    ) -> None:
        await self._enter("ensure_volume", name)
        self._volumes.setdefault(name, dict(labels))

    async def volumes(self, cluster_id: str) -> Mapping[str, Mapping[str, str]]:
        await self._enter("volumes", cluster_id)
        return {name: labels for name, labels in self._volumes.items() if labels.get(CLUSTER) == cluster_id}

    async def remove_volume(self, name: str) -> None:
        await self._enter("remove_volume", name)
        for kept in self._containers.values():
            if any(mount.volume == name for mount in kept.options.volumes):
                raise Conflict(f"volume {name} is in use by {kept.shown.name}")
        self._volumes.pop(name, None)

    async def give_files(
        self, folder: Path, files: Sequence[OwnedFile], *, image: str, cluster_id: str
    ) -> None:
        await self._enter("give_files", str(folder))
        if await self.image_id(image) is None:
            raise ImageNotFound(f"image {image} is not on this node")
        for file in files:
            path = folder / file.name
            path.unlink(missing_ok=True)
            path.write_bytes(file.content)
            path.chmod(file.mode)
            self.given[str(path)] = file

    async def create(self, options: ContainerOptions) -> Container:
        await self._enter("create", options.name)
        existing = self._containers.get(options.name)
        if existing is not None:
            return existing.shown
        image_id = await self.image_id(options.image)
        if image_id is None:
            raise ImageNotFound(f"image {options.image} is not on this node")
        container_id = f"{next(self._numbers):064x}"
        container = Container(
            id=container_id,
            name=options.name,
            image_id=image_id,
            labels=dict(options.labels),
            state=RunState.CREATED,
            ports=options.ports,
            networks=tuple(sorted({options.network, *options.joins})),
            stop_timeout_s=options.stop_timeout_s,
            log_path=str(self._log_files.path(container_id)) if self._log_files is not None else "",
        )
        self._containers[options.name] = _Kept(container, options)
        self._tell("create", container)
        return container

    async def start(self, name: str) -> Container:
        await self._enter("start", name)
        kept = self._kept(name)
        if kept.shown.is_up:
            return kept.shown
        self._check_ports(kept)
        if self._log_files is not None:
            self._log_files.make(kept.shown.id)
        kept.shown = replace(
            kept.shown,
            state=RunState.RUNNING,
            started_at=self._clock.now(),
            exit_code=None,
            oom_killed=False,
            ip="172.30.0.2",
            addresses=dict.fromkeys(kept.shown.networks, "172.30.0.2"),
        )
        self._tell("start", kept.shown)
        return kept.shown

    async def stop(self, name: str, *, timeout_s: int) -> Container:
        await self._enter("stop", name)
        if self._kept(name).shown.is_up:
            self.end(name, exit_code=0)
        return self._kept(name).shown

    async def remove(self, name: str) -> None:
        await self._enter("remove", name)
        if self._find(name) is not None:
            self.vanish(name)

    async def exec(self, name: str, options: ExecOptions) -> FakeExec:
        await self._enter("exec", name)
        if not self._kept(name).shown.is_up:
            raise Conflict(f"container {name} does not run")
        return FakeExec(options, self.exec_reply)

    async def logs(
        self, name: str, *, since_ns: int = 0, follow: bool = True
    ) -> AsyncIterator[list[LogPiece]]:
        await self._enter("logs", name)
        done = 0
        while (kept := self._find(name)) is not None:
            changed = self._changed
            fresh = [piece for piece in kept.pieces[done:] if piece.time_ns >= since_ns]
            done = len(kept.pieces)
            if fresh:
                yield fresh
            if not follow or not kept.shown.is_up:
                return
            await changed.wait()

    async def stats(self, name: str) -> ContainerStats:
        await self._enter("stats", name)
        self._kept(name)
        return ContainerStats(cpu_total_ns=1, memory_bytes=1, pids=1)

    async def info(self) -> EngineInfo:
        await self._enter("info", "")
        return EngineInfo(
            version="fake", arch="amd64", os="Fake OS", kernel="0", cpus=4, memory_bytes=8 * 2**30
        )  # fmt: skip

    async def events(self, cluster_id: str) -> AsyncIterator[EngineEvent]:
        await self._enter("events", cluster_id)
        queue: asyncio.Queue[EngineEvent | None] = asyncio.Queue()
        self._listeners.append((cluster_id, queue))
        try:
            yield LISTENING
            while (event := await queue.get()) is not None:
                yield event
        finally:
            self._listeners.remove((cluster_id, queue))

    async def close(self) -> None:
        for _, queue in self._listeners:
            queue.put_nowait(None)

    # ------------------------------------------------------------------------------------ inside

    async def _enter(self, call: str, about: str) -> None:
        self.calls.append((call, about))
        await asyncio.sleep(0)
        if call in self._gates:
            await self._gates[call].wait()
        if self.hung:
            raise EngineHangs("the Docker Engine does not answer: restart it on the node")
        if self.away:
            raise EngineAway("the Docker Engine cannot be reached: is it running?")
        failures = self._failures.get(call)
        if failures:
            raise failures.pop(0)

    def _find(self, name: str) -> _Kept | None:
        by_id = (kept for kept in self._containers.values() if kept.shown.id == name)
        return self._containers.get(name) or next(by_id, None)

    def _kept(self, name: str) -> _Kept:
        kept = self._find(name)
        if kept is None:
            raise NotFound(f"there is no container {name}")
        return kept

    def _check_ports(self, kept: _Kept) -> None:
        wanted = {port.host_port for port in kept.options.ports}
        for other in self._containers.values():
            taken = wanted & {port.host_port for port in other.shown.ports}
            if other is not kept and other.shown.is_up and taken:
                raise PortTaken(f"port {min(taken)} is in use on the node")

    def _tell(self, action: str, container: Container, *, exit_code: int | None = None) -> None:
        event = EngineEvent(
            action=action,
            container_id=container.id,
            name=container.name,
            labels=container.labels,
            at_ns=int(self._clock.now().timestamp() * 1e9),
            exit_code=exit_code,
        )
        for cluster_id, queue in self._listeners:
            if container.labels.get(CLUSTER) == cluster_id:
                queue.put_nowait(event)
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
