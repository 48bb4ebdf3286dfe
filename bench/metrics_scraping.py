"""Metrics of many nodes on their way to Prometheus: a target for each node behind the gateway, against one target for all of them.

    python -m bench.metrics_scraping [--nodes 1000] [--instances 20] [--rounds 4]

The gateway, the gatherer and the nodes' messages are the product's own in one process, over a bus and a store in memory and HTTP without TLS;
Prometheus is the real one, asking every 15 s.  What is told: bytes and processor time per node's message, per scrape, and of Prometheus.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import uvicorn
import yaml
from fastapi import FastAPI

from lattice.background import Background
from lattice.bus_wire import to_json
from lattice.contracts import catalogue as c
from lattice.contracts.messages import InstanceOwners, KnownInstances, NodeMetrics, ReadMetrics
from lattice.contracts.nouns import Role
from lattice.metrics import exposition, instruments
from lattice.metrics.declared import AREAS
from lattice.metrics.readings import Reading, readings_of, tables_of
from lattice.metrics.spec import Kind
from lattice.settings import BusSettings
from services.gateway import prometheus as told
from services.metrics.app import Metrics
from services.metrics.settings import MetricsSettings
from tests.fixtures.gateway import World, running_gateway
from tests.fixtures.ports import free_port
from tests.fixtures.prometheus import Prometheus, running_prometheus

EVERY_S = 15
_OURS = (c.LIST_METRIC_SOURCES, c.READ_METRICS, c.QUERY_METRICS, c.READ_STATS)
_TICKS = os.sysconf("SC_CLK_TCK")


def message(node: int, instances: int, round_: int, now: datetime) -> NodeMetrics:
    """What a node with so many instances says."""
    readings = [*instruments.counted()]
    for spec in AREAS["node"]:
        if spec.kind is not Kind.HISTOGRAM and not spec.labels:
            readings.append(Reading(spec, (), (123456789.0 + node + round_,)))
    for number in range(instances):
        name = f"in-{node:04}{number:022}"
        readings += [Reading(spec, (name,), (98765432.125 * number + round_,)) for spec in AREAS["workload"]]
    return NodeMetrics(node_id=f"nd-{node:026}", taken_at=now, tables=tables_of(readings))


async def known(request: KnownInstances) -> InstanceOwners:
    owner = ("default", f"wl-{request.instance_id[3:]}", f"workload-{request.instance_id[-2:]}")
    return InstanceOwners(instances={request.instance_id: owner}, node_name=f"node-{request.node_id[-4:]}")


@dataclass
class Bench:
    """The gateway with its gatherer, and what they take."""

    world: World
    service: Metrics
    nodes: int
    instances: int
    round_: int = 0

    async def speak(self) -> float:
        """Every node says something; processor time per message."""
        self.round_ += 1
        self.world.clock.advance(EVERY_S)
        messages = [
            message(node, self.instances, self.round_, self.world.clock.now()) for node in range(self.nodes)
        ]
        began_s = time.process_time()
        for each in messages:
            await self.world.bus.publish(c.NODE_METRICS, each, node_id=each.node_id)
        await self.world.bus.settle(600)
        return (time.process_time() - began_s) / self.nodes


@asynccontextmanager
async def bench(folder: Path, nodes: int, instances: int) -> AsyncIterator[Bench]:
    async with (
        running_gateway(folder, elsewhere=(*_OURS, c.KNOWN_INSTANCES)) as world,
        Background() as background,
    ):
        await world.bus.serve(c.KNOWN_INSTANCES, known)
        bus = BusSettings(
            urls=["tls://x"], ca_file=folder, cert_file=folder, key_file=folder, creds_file=folder
        )
        service = Metrics(MetricsSettings(bus=bus, data_dir=folder / "metrics"), world.bus, world.clock)
        await service.start(background)
        await world.add_user("prometheus", {"*": Role.VIEWER})
        yield Bench(world, service, nodes, instances)
        await service.stop()


@asynccontextmanager
async def serving(app: FastAPI, port: int) -> AsyncIterator[None]:
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", lifespan="off")
    )
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield
    server.should_exit = True
    await task


async def all_in_one(found: Bench) -> bytes:
    """One text for all nodes, each family once."""
    readings: list[Reading] = []
    labels: dict[int, dict[str, str]] = {}
    for node in range(found.nodes):
        answer = await found.world.bus.ask(c.READ_METRICS, ReadMetrics(kind="node", id=f"nd-{node:026}"))
        for each in (each for table in answer.tables for each in readings_of(table)):
            readings.append(each)
            labels[id(each)] = dict(told._added(each, answer))
    return exposition.text(readings, lambda each: labels[id(each)]).encode()


@asynccontextmanager
async def serving_all(found: Bench, port: int) -> AsyncIterator[None]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = await all_in_one(found)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port)
    yield
    server.close()


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def rss_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def child_pid() -> int:
    """The Prometheus that this process has started."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return next(int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text().strip() == "prometheus")


async def watch(found: Bench, prometheus: Prometheus, rounds: int, *, what: str) -> None:
    """Some rounds in the life of one way, and what they cost."""
    pid, ask = child_pid(), asyncio.to_thread
    await asyncio.sleep(2 * EVERY_S)  # it knows its targets, and has asked each once
    ours, theirs, began_s = time.process_time(), cpu_s(pid), time.monotonic()
    spent_speaking = 0.0
    for _ in range(rounds):
        before = time.process_time()
        await found.speak()
        spent_speaking += time.process_time() - before
        await asyncio.sleep(max(0.0, EVERY_S - (time.process_time() - before)))
    lasted_s = time.monotonic() - began_s
    ours, theirs = time.process_time() - ours - spent_speaking, cpu_s(pid) - theirs
    seconds = list((await ask(prometheus.query, "max(scrape_duration_seconds)")).values())
    up = list((await ask(prometheus.query, "sum(up)")).values())
    series = list((await ask(prometheus.query, 'sum(scrape_samples_scraped{job="bench"})')).values())
    print(
        f"{what}: {up[0] if up else 0:.0f} targets up, {series[0] if series else 0:.0f} samples a round; the longest scrape "
        f"{seconds[0] if seconds else float('nan'):.2f} s; gateway {100 * ours / lasted_s:.0f} % of a core, Prometheus "
        f"{100 * theirs / lasted_s:.0f} % and {rss_mib(pid):.0f} MiB"
    )


def configuration(folder: Path, job: dict[str, object]) -> Path:
    folder.mkdir()
    plain = {
        "global": {"scrape_interval": f"{EVERY_S}s", "scrape_timeout": f"{EVERY_S - 1}s"},
        "scrape_configs": [{"job_name": "bench", "honor_labels": True, **job}],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(plain))
    return folder / "prometheus.yaml"


async def each_its_own(found: Bench, folder: Path, rounds: int) -> None:
    port = free_port()
    token = folder / "token"
    token.write_text(found.world.tokens["prometheus"])
    credentials = {"type": "Bearer", "credentials_file": str(token)}
    discovery = {
        "url": f"http://127.0.0.1:{port}/v1/prometheus/nodes",
        "refresh_interval": "30s",
        "authorization": credentials,
    }
    config = configuration(folder / "each", {"http_sd_configs": [discovery], "authorization": credentials})
    async with serving(found.world.app, port):
        with running_prometheus(folder / "each", config) as prometheus:
            await watch(found, prometheus, rounds, what="a target for each node")


async def one_for_all(found: Bench, folder: Path, rounds: int) -> None:
    port = free_port()
    began_s = time.process_time()
    body = await all_in_one(found)
    print(
        f"one text for all: {len(body) / 2**20:.1f} MiB, {time.process_time() - began_s:.2f} s of processor time"
    )
    config = configuration(folder / "one", {"static_configs": [{"targets": [f"127.0.0.1:{port}"]}]})
    async with serving_all(found, port):
        with running_prometheus(folder / "one", config) as prometheus:
            await watch(found, prometheus, rounds, what="one target for all")


async def sizes(found: Bench) -> None:
    """What a node's message and a node's text are."""
    spent = [await found.speak() for _ in range(3)]
    sample = message(1, found.instances, 1, found.world.clock.now())
    plain = len(to_json(sample))
    values = sum(1 for table in sample.tables for _ in readings_of(table))
    print(f"a node's message: {plain / 1024:.1f} KiB for {values} readings of {found.instances} instances")
    busy_ms = 1000 * statistics.median(spent)
    print(
        f"taken in: {busy_ms:.2f} ms of processor time a message, encoding included; {found.nodes} nodes every {EVERY_S} s: "
        f"{busy_ms * found.nodes / EVERY_S / 10:.0f} % of a core"
    )
    answer = await found.world.bus.ask(c.READ_METRICS, ReadMetrics(kind="node", id=f"nd-{1:026}"))
    began_s = time.process_time()
    for _ in range(50):
        text = told.text(answer, found.world.clock.now())
    print(f"a node's text: {len(text) / 1024:.0f} KiB, {(time.process_time() - began_s) * 20:.2f} ms")
    await found.service.keep_minute()
    await found.speak()
    began_s = time.process_time()
    await found.service.keep_minute()
    rings = found.service.history.rings
    print(f"a minute of the history: {time.process_time() - began_s:.2f} s, {len(rings)} series")


async def run(nodes: int, instances: int, rounds: int) -> None:
    ways: list[Callable[[Bench, Path, int], Awaitable[None]]] = [each_its_own, one_for_all]
    with tempfile.TemporaryDirectory(prefix="lattice-bench-") as name:
        async with bench(Path(name), nodes, instances) as found:
            await sizes(found)
            for way in ways if rounds else ():
                await way(found, Path(name), rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--instances", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=4)
    arguments = parser.parse_args()
    asyncio.run(run(arguments.nodes, arguments.instances, arguments.rounds))


if __name__ == "__main__":
    main()
