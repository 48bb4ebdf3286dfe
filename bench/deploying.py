"""What G1, G3, G4 and G5 measure with: a platform of its own, the bare Engine, and Docker Swarm on the same Engine.

"Running" is the Engine's own `start` event for a container, for all three alike, so nobody's polling counts.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiodocker
import httpx

from infra.setup.commands import run

IMAGE = "lattice.local/test:1"
COMMAND = ["sleep", "3600"]
LABEL = "lattice.bench"
# The same for all: the Engine starts a container under its own limit, and a hundredth of a core makes that take a second and a half.
CPU_MILLIS = 100
# As the kernel names them: 15 characters at most.
ENGINE_PROCESSES = frozenset({"dockerd", "containerd", "containerd-shim", "docker-proxy"})
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Platform:
    """A running platform: its REST client, and the pids that its CPU time is counted by."""

    client: httpx.AsyncClient
    pids: tuple[int, ...]

    async def accept(self, **spec: Any) -> dict[str, Any]:
        """POST a workload; its answer, once it is durably accepted."""
        body = {"name": f"b{next(_numbers)}", "image": IMAGE, "command": COMMAND, "pull": "never"} | spec
        response = await self.client.post("/v1/workloads", json=body)
        if response.status_code != 202:
            raise RuntimeError(f"refused: {response.text}")
        answer: dict[str, Any] = response.json()
        return answer


@asynccontextmanager
async def platform() -> AsyncIterator[Platform]:
    """Bring a platform up in a folder of its own, and remove everything of it at the end."""
    async with stored_platform(None) as found:
        yield found


@asynccontextmanager
async def stored_platform(fill: Callable[[Path], None] | None) -> AsyncIterator[Platform]:
    """The same with something in its data directory, put there between a first start and a second."""
    with tempfile.TemporaryDirectory(prefix="lattice-bench-") as folder:
        lattice = [str(Path(sys.executable).with_name("lattice"))]
        place = ["--data-dir", f"{folder}/data"]
        if fill is not None:
            await asyncio.to_thread(_run, [*lattice, "up", *place, "--detach", "--wait"])
            await asyncio.to_thread(_run, [*lattice, "down", *place])
            await asyncio.to_thread(fill, Path(folder) / "data")
        up = await asyncio.to_thread(_run, [*lattice, "up", *place, "--detach", "--wait", "-o", "json"])
        try:
            told = json.loads(up)
            context = ssl.create_default_context(cafile=told["ca"])
            headers = {"Authorization": f"Bearer {told['token']}"}
            async with httpx.AsyncClient(
                base_url=told["url"], verify=context, headers=headers, timeout=30
            ) as client:
                yield Platform(client, _pids(Path(told["data_dir"])))
        finally:
            await asyncio.to_thread(_run, [*lattice, "reset", *place, "--yes"])


def _run(argv: list[str]) -> str:
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout


def _pids(data_dir: Path) -> tuple[int, ...]:
    status = json.loads((data_dir / "run/status.json").read_text())
    return tuple(process["pid"] for process in status["processes"])


@dataclass
class _Wanted:
    done: asyncio.Future[None]
    count: int


@dataclass
class Starts:
    """The Engine's start events: tells when a container with this label value began to run."""

    docker: aiodocker.Docker
    _waiting: dict[tuple[str, str], _Wanted] = field(default_factory=dict)

    async def listen(self) -> None:
        """Read events until cancelled."""
        events = self.docker.events.subscribe(filters=json.dumps({"type": ["container"], "event": ["start"]}))
        while (event := await events.get()) is not None:
            for item in event["Actor"]["Attributes"].items():
                self._count(item)

    def _count(self, item: tuple[str, str]) -> None:
        if (wanted := self._waiting.get(item)) is None:
            return
        wanted.count -= 1
        if wanted.count == 0:
            del self._waiting[item]
            wanted.done.set_result(None)

    def of(self, label: str, value: str, count: int = 1) -> asyncio.Future[None]:
        """Done when so many containers with this label have started; ask before they are made."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[label, value] = _Wanted(done, count)
        return done


@asynccontextmanager
async def starts() -> AsyncIterator[Starts]:
    """Listen to the Engine."""
    async with aiodocker.Docker() as docker:
        found = Starts(docker)
        listening = asyncio.create_task(found.listen())
        await asyncio.sleep(0.2)  # the subscription is sent by a task of its own
        try:
            yield found
        finally:
            listening.cancel()


@asynccontextmanager
async def network(docker: aiodocker.Docker) -> AsyncIterator[str]:
    """A bridge network of its own, as each project has one."""
    made = await docker.networks.create({"Name": f"lattice-bench-{os.getpid()}", "Driver": "bridge"})
    try:
        yield str(made.id)
    finally:
        await made.delete()


async def bare(engine: Starts, network: str = "default") -> int:
    """Create and start one container as an agent would have it: on a bridge, with a published port and limits."""
    value = next_value()
    started = engine.of(LABEL, value)
    container = await engine.docker.containers.create(bare_config(value, network))
    await container.start()
    await started
    return 1


def bare_config(value: str, network: str, cpu_millis: int = CPU_MILLIS) -> dict[str, Any]:
    """A container of the bare Engine."""
    return {
        "Image": IMAGE,
        "Cmd": COMMAND,
        "Labels": {LABEL: value},
        "ExposedPorts": {"80/tcp": {}},
        "HostConfig": {
            "Init": True,
            "Memory": 64 * 2**20,
            "PidsLimit": 128,
            "NanoCpus": cpu_millis * 1_000_000,
            "NetworkMode": network,
            "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]},
        },
    }


def lattice(found: Platform, engine: Starts) -> Callable[[], Awaitable[int]]:
    """The same through REST: from the POST until the container runs."""

    async def deploy() -> int:
        ports = [{"name": "http", "port": 80}]
        accepted = await found.accept(ports=ports, resources={"cpu": f"{CPU_MILLIS}m", "memory": "64Mi"})
        workload = accepted["workload"]["id"]
        await engine.of("lattice.workload", workload)
        return 1

    return deploy


@asynccontextmanager
async def swarm() -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """Docker Swarm on the same Engine; yields `create(label, constraints) -> service id`."""
    run(["docker", "swarm", "init", "--advertise-addr", "127.0.0.1"])
    async with aiodocker.Docker() as docker:

        async def create(
            value: str,
            constraints: list[str] | None = None,
            *,
            replicas: int = 1,
            cpu_millis: int = CPU_MILLIS,
        ) -> str:
            template = {
                "ContainerSpec": {
                    "Image": IMAGE,
                    "Command": COMMAND,
                    "Labels": {LABEL: value},
                    "Init": True,
                    "StopGracePeriod": 0,
                },
                "Resources": {"Limits": {"NanoCPUs": cpu_millis * 1_000_000, "MemoryBytes": 64 * 2**20}},
                "Placement": {"Constraints": constraints or []},
                "RestartPolicy": {"Condition": "any", "Delay": 0},
            }
            body = {
                "Name": f"bench-{value}",
                "TaskTemplate": template,
                "Mode": {"Replicated": {"Replicas": replicas}},
            }
            answer = await docker._query_json("services/create", method="POST", data=body)
            return str(answer["ID"])

        try:
            yield create
        finally:
            run(["docker", "swarm", "leave", "--force"])


def remove_bare() -> None:
    """Remove the containers that the bare Engine ran."""
    listed = _containers(LABEL)
    if listed:
        run(["docker", "rm", "--force", *listed])


async def until_gone(label: str) -> None:
    """Wait until no container has this label any more."""
    while await asyncio.to_thread(_containers, label):
        await asyncio.sleep(0.1)


def _containers(label: str) -> list[str]:
    return run(["docker", "ps", "--all", "--quiet", "--filter", f"label={label}"]).split()


def engine_cpu_s() -> float:
    """CPU of the Engine with all that it runs to start containers: this machine's dockerd, containerd, shims, and their ended children."""
    return sum(map(_with_children_s, Path("/proc").glob("[0-9]*/stat")))


def _with_children_s(stat: Path) -> float:
    try:
        name, values = stat.read_text().partition("(")[2].rsplit(")", 1)
    except OSError:  # it ended meanwhile
        return 0.0
    if name not in ENGINE_PROCESSES:
        return 0.0
    return sum(map(int, values.split()[11:15])) / _TICKS_PER_S


def next_value() -> str:
    """A label value that nobody has yet."""
    return str(next(_numbers))
