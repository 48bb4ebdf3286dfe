"""Docker Engine as a `Runtime`, through aiodocker.

Every call has a deadline, because an Engine that hangs answers nothing for ever.  The streams of events and logs are read straight from the
HTTP response: aiodocker's event channel cannot be subscribed to again after the Engine restarted, and its logs do not say which stream a line
came from.  A container is made only after its finished request was held against the allow-list in `docker_options`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from aiodocker import Docker

from agent.docker_inspect import container_of, event_of, info_of, stats_of
from agent.docker_options import check_joins, check_request, create_request
from agent.docker_runtime_errors import ENGINE_ERRORS, QuotasUnsupported, translated
from agent.docker_runtime_exec import DockerExec, start_exec
from agent.docker_runtime_files import DockerFiles
from agent.docker_runtime_images import DockerImages
from agent.docker_runtime_networks import DockerNetworks
from agent.log_frames import FrameReader
from agent.naming import CLUSTER
from lattice.contracts.nouns import LocalImage
from lattice.errors import Conflict, NotFound
from lattice.runtime import (
    LISTENING,
    Container,
    ContainerOptions,
    ContainerStats,
    EngineEvent,
    EngineInfo,
    ExecOptions,
    LogPiece,
    OwnedFile,
    RegistryAuth,
)

T = TypeVar("T")

_EVENTS = ("create", "start", "die", "oom", "stop", "pause", "unpause", "destroy", "rename")
_PARALLEL_INSPECTIONS = 8
_LARGEST_EVENT = 2**20


class Deadlines:
    """How long each kind of call may take, in seconds; a test shortens them."""

    def __init__(self, *, look_s: float = 10.0, change_s: float = 60.0, pull_idle_s: float = 120.0) -> None:
        self.look_s, self.change_s, self.pull_idle_s = look_s, change_s, pull_idle_s


class DockerRuntime:
    """A `Runtime` over one Docker Engine.  `files_root` is the only folder from which files may be mounted."""

    def __init__(self, docker: Docker, *, files_root: Path, deadlines: Deadlines | None = None) -> None:
        self._docker = docker
        self._files_root = files_root
        self._deadlines = deadlines or Deadlines()
        self._networks = DockerNetworks(docker)
        self._images = DockerImages(docker)
        self._files = DockerFiles(docker, files_root)
        self._limits_volumes = True  # until the Engine says that it cannot

    # ------------------------------------------------------------------------------------ looking

    async def containers(self, cluster_id: str) -> tuple[Container, ...]:
        params: dict[str, Any] = {"all": True, "filters": _label_filter(cluster_id)}
        listed = await self._look(
            "listing containers", self._docker._query_json("containers/json", params=params)
        )
        limit = asyncio.Semaphore(_PARALLEL_INSPECTIONS)

        async def inspected(container_id: str) -> Container | None:
            async with limit:
                return await self.container(container_id)

        found = await asyncio.gather(*(inspected(each["Id"]) for each in listed))
        return tuple(container for container in found if container is not None)

    async def container(self, name: str) -> Container | None:
        try:
            return container_of(
                await self._look(f"looking at {name}", self._docker._query_json(f"containers/{name}/json"))
            )
        except NotFound:
            return None

    async def image_id(self, reference: str) -> str | None:
        try:
            shown = await self._look(f"looking for {reference}", self._docker.images.inspect(reference))
        except NotFound:
            return None
        return str(shown["Id"])

    async def images(self) -> tuple[LocalImage, ...]:
        return await self._look("listing images", self._images.held())

    async def images_in_use(self) -> frozenset[str]:
        return await self._look("listing containers", self._images.in_use())

    async def volumes(self, cluster_id: str) -> Mapping[str, Mapping[str, str]]:
        params = {"filters": _label_filter(cluster_id)}
        listed = await self._look("listing volumes", self._docker._query_json("volumes", params=params))
        return {each["Name"]: each["Labels"] or {} for each in listed["Volumes"] or ()}

    async def networks(self, cluster_id: str) -> tuple[str, ...]:
        """The names of the networks that carry this cluster's label."""
        params = {"filters": _label_filter(cluster_id)}
        listed = await self._look("listing networks", self._docker._query_json("networks", params=params))
        return tuple(each["Name"] for each in listed)

    async def stats(self, name: str) -> ContainerStats:
        params = {"stream": False, "one-shot": True}
        return stats_of(
            await self._look(
                f"measuring {name}", self._docker._query_json(f"containers/{name}/stats", params=params)
            )
        )

    async def info(self) -> EngineInfo:
        return info_of(await self._look("asking for its state", self._docker.system.info()))

    # ------------------------------------------------------------------------------------ changing

    async def pull(
        self, reference: str, *, progress: Callable[[str], None], auth: RegistryAuth | None = None
    ) -> None:
        await self._images.pull(reference, progress, auth, idle_s=self._deadlines.pull_idle_s)

    async def remove_image(self, reference: str) -> None:
        await self._change(f"removing image {reference}", self._images.remove(reference))

    async def ensure_network(self, name: str, labels: Mapping[str, str]) -> str:
        async with self._calls(f"making network {name}", self._deadlines.change_s):
            return await self._networks.ensure(name, labels)

    async def remove_network(self, name: str) -> None:
        async with self._calls(f"removing network {name}", self._deadlines.change_s):
            await self._networks.remove(name)

    async def ensure_volume(
        self, name: str, labels: Mapping[str, str], *, size_bytes: int | None = None
    ) -> None:
        request = {"Name": name, "Driver": "local", "Labels": dict(labels)}
        if size_bytes is not None and self._limits_volumes:
            limited = request | {"DriverOpts": {"size": str(size_bytes)}}
            try:
                await self._change(f"making volume {name}", self._docker.volumes.create(limited))
                return
            except QuotasUnsupported:
                self._limits_volumes = False
        await self._change(f"making volume {name}", self._docker.volumes.create(request))

    async def remove_volume(self, name: str) -> None:
        try:
            await self._change(f"removing volume {name}", self._delete(f"volumes/{name}"))
        except NotFound:
            return

    async def give_files(
        self, folder: Path, files: Sequence[OwnedFile], *, image: str, cluster_id: str
    ) -> None:
        writing = self._files.write(folder, files, image=image, cluster_id=cluster_id)
        await self._change(f"giving files to the user of {image}", writing)

    async def create(self, options: ContainerOptions) -> Container:
        request = create_request(options)
        check_request(request, files_root=self._files_root)
        check_joins(options.joins)
        making = self._docker.containers.create(request, name=options.name)
        with suppress(Conflict):  # the name is taken: by the container that is meant, if its labels say so
            await self._change(f"making {options.name}", making)
        container = await self._shown(options.name)
        if dict(container.labels) | dict(options.labels) != dict(container.labels):
            raise Conflict(f"A foreign container has the name {options.name}: remove it from the node.")
        missing = sorted(set(options.joins) - set(container.networks))
        for network in missing:
            await self._change(f"joining {network}", self._networks.join(network, container.id))
        return await self._shown(options.name) if missing else container

    async def start(self, name: str) -> Container:
        await self._change(f"starting {name}", self._docker.containers.container(name).start())
        return await self._shown(name)

    async def stop(self, name: str, *, timeout_s: int) -> Container:
        stopping = self._docker.containers.container(name).stop(t=timeout_s)
        await self._call(f"stopping {name}", stopping, timeout_s + self._deadlines.change_s)
        return await self._shown(name)

    async def remove(self, name: str) -> None:
        removing = self._docker.containers.container(name).delete(force=True, v=True)
        try:
            await self._change(f"removing {name}", removing)
        except NotFound:
            return
        except Conflict:
            await self._until_gone(name)  # somebody else's removal is under way

    async def exec(self, name: str, options: ExecOptions) -> DockerExec:
        container = await self._shown(name)
        return await start_exec(self._docker, container.id, options)

    # ------------------------------------------------------------------------------------ streams

    async def logs(
        self, name: str, *, since_ns: int = 0, follow: bool = True
    ) -> AsyncIterator[list[LogPiece]]:
        params: dict[str, Any] = {"stdout": True, "stderr": True, "timestamps": True, "follow": follow}
        if since_ns:
            params["since"] = f"{since_ns // 10**9}.{since_ns % 10**9:09d}"
        frames = FrameReader()
        async for data in self._stream(f"containers/{name}/logs", params, f"reading the log of {name}"):
            pieces = frames.feed(data)
            if pieces:
                yield pieces

    async def events(self, cluster_id: str) -> AsyncIterator[EngineEvent]:
        filters = {"type": ["container"], "event": list(_EVENTS), "label": [f"{CLUSTER}={cluster_id}"]}
        rest = b""
        async for data in self._stream("events", {"filters": json.dumps(filters)}, "hearing events"):
            if not data:
                yield LISTENING
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if line.strip():
                    yield event_of(json.loads(line))

    async def close(self) -> None:
        await self._docker.close()
        await self._docker.session.close()

    # ------------------------------------------------------------------------------------ inside

    async def _stream(self, path: str, params: Mapping[str, Any], what: str) -> AsyncIterator[bytes]:
        """The bytes of an endless answer; the first ones are empty and say that it has begun."""
        endless = aiohttp.ClientTimeout(total=None, sock_read=None)
        asked = self._docker._do_query(path, "GET", params=dict(params), timeout=endless)
        response = await self._look(what, asked)
        try:
            yield b""
            async for data in response.content.iter_any():
                yield data
        except ENGINE_ERRORS as error:
            raise translated(error, what) from error
        finally:
            response.close()

    async def _shown(self, name: str) -> Container:
        container = await self.container(name)
        if container is None:
            raise NotFound(f"There is no container {name}.")
        return container

    async def _delete(self, path: str) -> None:
        async with self._docker._query(path, method="DELETE"):
            return

    async def _until_gone(self, name: str) -> None:
        async with asyncio.timeout(self._deadlines.change_s):
            while await self.container(name) is not None:
                await asyncio.sleep(0.05)

    async def _look(self, what: str, answer: Awaitable[T]) -> T:
        return await self._call(what, answer, self._deadlines.look_s)

    async def _change(self, what: str, answer: Awaitable[T]) -> T:
        return await self._call(what, answer, self._deadlines.change_s)

    async def _call(self, what: str, answer: Awaitable[T], timeout_s: float) -> T:
        async with self._calls(what, timeout_s):
            return await answer

    @asynccontextmanager
    async def _calls(self, what: str, timeout_s: float) -> AsyncIterator[None]:
        """A deadline around calls of the Engine, and its errors in our words."""
        try:
            async with asyncio.timeout(timeout_s):
                yield
        except ENGINE_ERRORS as error:
            raise translated(error, what) from error


def open_docker(url: str, *, files_root: Path, deadlines: Deadlines | None = None) -> DockerRuntime:
    """A runtime for the Engine at `url` (`unix:///var/run/docker.sock`); call it inside a running loop.

    Following the log of a container takes one connection, so their number is not limited: aiohttp's default of 100 would be a deadlock with
    the hundredth container.
    """
    connector: aiohttp.BaseConnector
    if url.startswith("unix://"):
        connector = aiohttp.UnixConnector(url.removeprefix("unix://"), limit=0)
        url = "unix://localhost"
    else:
        connector = aiohttp.TCPConnector(limit=0)
    session = aiohttp.ClientSession(connector=connector)
    docker = Docker(url, connector=connector, session=session)
    return DockerRuntime(docker, files_root=files_root, deadlines=deadlines)


def _label_filter(cluster_id: str) -> str:
    return json.dumps({"label": [f"{CLUSTER}={cluster_id}"]})
