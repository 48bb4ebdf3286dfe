"""What G1 and G3 measure with: a platform of its own, the bare Engine, and Docker Swarm on the same Engine.

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
    with tempfile.TemporaryDirectory(prefix="lattice-bench-") as folder:
        lattice = [str(Path(sys.executable).with_name("lattice"))]
        place = ["--data-dir", f"{folder}/data"]
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
class Starts:
    """The Engine's start events: tells when a container with this label value began to run."""

    docker: aiodocker.Docker
    _waiting: dict[tuple[str, str], asyncio.Future[None]] = field(default_factory=dict)

    async def listen(self) -> None:
        """Read events until cancelled."""
        events = self.docker.events.subscribe(filters=json.dumps({"type": ["container"], "event": ["start"]}))
        while (event := await events.get()) is not None:
            for item in event["Actor"]["Attributes"].items():
                if waiting := self._waiting.pop(item, None):
                    waiting.set_result(None)

    def of(self, label: str, value: str) -> asyncio.Future[None]:
        """Done when a container with this label starts; ask before it is made."""
        waiting = asyncio.get_running_loop().create_future()
        self._waiting[label, value] = waiting
        return waiting


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
    value = str(next(_numbers))
    started = engine.of(LABEL, value)
    config: dict[str, Any] = {
        "Image": IMAGE,
        "Cmd": COMMAND,
        "Labels": {LABEL: value},
        "ExposedPorts": {"80/tcp": {}},
        "HostConfig": {
            "Init": True,
            "Memory": 64 * 2**20,
            "PidsLimit": 128,
            "NanoCpus": CPU_MILLIS * 1_000_000,
            "NetworkMode": network,
            "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]},
        },
    }
    container = await engine.docker.containers.create(config)
    await container.start()
    await started
    return 1


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

        async def create(value: str, constraints: list[str] | None = None) -> str:
            template = {
                "ContainerSpec": {"Image": IMAGE, "Command": COMMAND, "Labels": {LABEL: value}},
                "Resources": {"Limits": {"NanoCPUs": CPU_MILLIS * 1_000_000, "MemoryBytes": 64 * 2**20}},
                "Placement": {"Constraints": constraints or []},
            }
            body = {
                "Name": f"bench-{value}",
                "TaskTemplate": template,
                "Mode": {"Replicated": {"Replicas": 1}},
            }
            answer = await docker._query_json("services/create", method="POST", data=body)
            return str(answer["ID"])

        try:
            yield create
        finally:
            run(["docker", "swarm", "leave", "--force"])


def remove_bare() -> None:
    """Remove the containers that the bare Engine ran."""
    listed = run(["docker", "ps", "--all", "--quiet", "--filter", f"label={LABEL}"]).split()
    if listed:
        run(["docker", "rm", "--force", *listed])


def next_value() -> str:
    """A label value that nobody has yet."""
    return str(next(_numbers))
