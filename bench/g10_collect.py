"""G10: what a node takes to collect a million lines of a container: the Engine's own file, packed into the spool, against the Engine's logs API.

The peer only takes the API's bytes and counts them: it neither tells streams apart nor keeps anything.  Beside them stands the way that is left
where the file cannot be read: the API's pieces made into records and spooled.  Lines have 120 bytes.  `python -m bench.g10_collect`
"""

from __future__ import annotations

import asyncio
import json
import secrets
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import aiodocker
import aiohttp
import psutil
import uvloop

from agent.docker_runtime import DockerRuntime, open_docker
from agent.log_api_follower import ApiFollower
from agent.log_chunks import Chunk, LogSource
from agent.log_file_follower import FileFollower
from agent.log_place import LogPosition
from agent.log_spool import LogSpool
from bench.harness import ROUNDS, Comparison, compare, is_full_size
from infra.images.ensure import ensure_image
from infra.images.recipes import TEST
from infra.images.registry import Registry
from infra.setup.places import workshop
from lattice.contracts.nouns import ContainerKey

GOAL = 5.0
OURS, FALLBACK, PEER = "Lattice, file to spool", "Lattice, API to spool", "logs API, bytes only"
LINES = 1_000_000
_PRINT = (
    "i=1000000; end=$((i+{lines})); while [ $i -lt $end ]; do echo $i INFO request handled method=GET path=/api/orders/$((i*7919%100003)) "
    "status=200 duration_ms=$((i%97)) client=10.0.$((i%251)).$((i%13)) bytes=$((i*31%65537)); i=$((i+1)); done"
)
_SPOOL_BYTES = 2**30


class Log:
    """A container that has printed, and its log."""

    def __init__(
        self, docker: aiodocker.Docker, runtime: DockerRuntime, container_id: str, path: str
    ) -> None:
        self.docker, self.runtime, self.id, self.path = docker, runtime, container_id, path
        key = ContainerKey(workload_id="wl-1", slot=0, epoch=1)
        self.source = LogSource(
            node_id="nd-1", container_id=container_id, key=key, instance_id="in-1", project="default"
        )


@asynccontextmanager
async def spool() -> AsyncIterator[LogSpool]:
    """An empty one; everything is on disk at the end."""
    with tempfile.TemporaryDirectory() as folder:
        made = LogSpool(Path(folder), most_bytes=_SPOOL_BYTES)
        await made.open({})
        yield made
        await made.flush()
        made.close()


async def ours(log: Log) -> int:
    follower = FileFollower(log.source, log.path, LogPosition())
    async with spool() as kept:
        while chunks := await asyncio.to_thread(follower.read):
            await kept.append(log.source, chunks)
            follower.advance()
    follower.close()
    return follower.position.number


async def fallback(log: Log) -> int:
    async with spool() as kept:

        async def keep(source: LogSource, chunks: list[Chunk]) -> None:
            await kept.append(source, chunks)

        follower = ApiFollower(log.source, log.runtime, LogPosition(), keep)  # type: ignore[arg-type]
        task = asyncio.create_task(follower.run())
        follower.poke(datetime.now().astimezone())
        await follower.read_out.wait()
        task.cancel()
    return follower.position.number


async def peer(log: Log) -> int:
    params = {"stdout": True, "stderr": True, "timestamps": True, "follow": False}
    endless = aiohttp.ClientTimeout(total=None)
    response = await log.docker._do_query(f"containers/{log.id}/logs", "GET", params=params, timeout=endless)
    lines = 0
    async for data in response.content.iter_any():
        lines += data.count(b"\n")
    return lines


@asynccontextmanager
async def printed(lines: int) -> AsyncIterator[Log]:
    """A container that has printed so many lines, and ended."""
    image = ensure_image(TEST, workshop(), Registry()).image
    with tempfile.TemporaryDirectory() as files:
        runtime = open_docker("unix:///var/run/docker.sock", files_root=Path(files))
        async with aiodocker.Docker() as docker:
            request: dict[str, Any] = {
                "Image": image,
                "Cmd": ["sh", "-c", _PRINT.format(lines=lines)],
                "HostConfig": {"LogConfig": {"Type": "json-file", "Config": {}}},
            }
            container = await docker.containers.create(request, name=f"lattice-bench-{secrets.token_hex(4)}")
            try:
                await container.start()
                await container.wait(timeout=600)
                yield Log(docker, runtime, container.id, (await container.show())["LogPath"])
            finally:
                await container.delete(force=True)
                await runtime.close()


async def measure(lines: int) -> Comparison:
    async with printed(lines) as log:
        length = _line_length(log.path)
        assert 110 <= length <= 130, length
        return await compare(
            {
                OURS: lambda: ours(log),
                FALLBACK: lambda: fallback(log),
                PEER: lambda: peer(log),
            },
            rounds=ROUNDS if is_full_size() else 3,
            own_pids=[_engine_pid()],
        )


def _line_length(path: str) -> int:
    with Path(path).open("rb") as file:
        return len(json.loads(file.readline())["log"])


def _engine_pid() -> int:
    """The Engine's: reading a log through it is work of its own."""
    return next(each.pid for each in psutil.process_iter(["name"]) if each.info["name"] == "dockerd")


def main() -> str:
    result = uvloop.run(measure(LINES))
    ratio = result.ratio(OURS, PEER)
    cpu = ", ".join(f"{name}: {result.cpu_us(name):.2f}" for name in (OURS, FALLBACK, PEER))
    return "\n".join(
        [
            "## G10: collecting a million lines of a container",
            "",
            *result.lines(PEER),
            "",
            f"{ratio:.1f} x the logs API (goal: at least {GOAL:g}); CPU seconds per million lines, the Engine's with them: {cpu}",
            "",
        ]
    )


if __name__ == "__main__":
    print(main())
