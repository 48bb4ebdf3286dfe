"""G8: log lines all the way, from the Engine's file on a node to confirmed and found by a search, against a process that only packs and writes.

The agent's own collecting and sending run here, on a file as the Engine writes it; nats-server (over TLS) and the log store are processes of their
own.  A turn ends when the store has confirmed all, the spool is empty, and the last line is found.  The floor is that of `bench.g8_store`.
`python -m bench.g8_whole`
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop

from agent.journal import Journal
from agent.log_shipping import LogShipping
from agent.naming import EPOCH, INSTANCE, PROJECT, SLOT, WORKLOAD
from agent.node_events import NodeEvents
from bench.g8_store import FLOOR, NODE, SETTINGS, Floor, sample
from bench.harness import Comparison, compare, is_full_size
from bench.sample_log import blocks, texts
from lattice.background import Background
from lattice.bus import NatsBus
from lattice.clock import SystemClock
from lattice.contracts.catalogue import QUERY_LOGS
from lattice.contracts.messages import QueryLogs
from lattice.contracts.permissions import service_permissions
from lattice.ids import new_id
from lattice.runtime import Container, RunState
from lattice.testing import FakeRuntime
from tests.fixtures.log_process import a_bus, a_registry, log_process
from tests.fixtures.nats import NatsServer, make_nats_server

OURS = "file to searchable"
LINES, FULL_LINES = 400_000, 1_000_000
GOAL_RATE, GOAL_CPU_S = 575_000, 2.2
_LOOK_S = 0.005


@dataclass
class Node:
    """An agent's logs, and who searches them."""

    logs: LogShipping
    gateway: NatsBus
    file: Path
    lines: int
    turns: int = 0

    async def send(self) -> int:
        """Another container that has written the same file."""
        self.turns += 1
        container = self._container(f"{self.turns:08x}".ljust(64, "0"))
        self.logs.watch([container])
        while not self._is_sent(container.id):
            await asyncio.sleep(_LOOK_S)
        query = QueryLogs(project="default", workload_ids=("wl-0",), source=container.id, limit=1)
        place = (await self.gateway.ask(QUERY_LOGS, query)).next
        if place is None or place.number != self.lines:
            raise RuntimeError(f"the last line that was found is {place}, and not {self.lines}")
        return self.lines

    def _container(self, container_id: str) -> Container:
        path = self.file.with_name(f"{container_id}-json.log")
        path.hardlink_to(self.file)
        labels = {WORKLOAD: "wl-0", SLOT: "0", EPOCH: "1", INSTANCE: "in-0", PROJECT: "default"}
        return Container(
            id=container_id, name="bench", image_id="", labels=labels, state=RunState.RUNNING, log_path=str(path)
        )  # fmt: skip

    def _is_sent(self, container_id: str) -> bool:
        return (
            self.logs.collecting.positions()[container_id].number == self.lines and self.logs.spool.is_empty
        )


@asynccontextmanager
async def node(server: NatsServer, folder: Path, file: Path, lines: int) -> AsyncIterator[Node]:
    """The part of an agent that ships logs, as `agent.node` starts it."""
    gateway = server.service("gateway", service_permissions("gateway"))
    async with (
        a_registry(server, {NODE: {"in-0": ("default", "wl-0", "bench")}}),
        a_bus(server, server.node(NODE)) as bus,
        a_bus(server, gateway) as asking,
        Background() as background,
    ):
        (folder / "agent").mkdir()
        events = NodeEvents(NODE, bus, SystemClock(), new_id)
        logs = LogShipping(
            NODE, FakeRuntime(), bus, Journal(folder / "agent"), events, folder=folder / "agent/log-spool"
        )
        await logs.start()
        for run in (logs.collecting.run, logs.keep, logs.sending.run, logs.sending.look):
            background.start(run.__qualname__, run)
        yield Node(logs, asking, file, lines)


async def measure(lines: int, folder: Path) -> Comparison:
    file = folder / "json.log"
    with file.open("wb") as out:
        out.writelines(records for _, records in blocks(texts(lines)))
    server = make_nats_server(folder / "nats")
    server.start()
    store = log_process(server, folder, **SETTINGS)
    try:
        async with node(server, folder, file, lines) as ours:
            await store.start()
            floor = Floor(folder / "chunks", sample(lines))
            assert server.process is not None
            pids = [server.process.pid, store.pid]
            return await compare({OURS: ours.send, FLOOR: floor.write}, own_pids=pids)
    finally:
        store.stop()
        server.kill()


def report(result: Comparison, lines: int) -> list[str]:
    rate, cpu_s = result.rate(OURS), result.cpu_us(OURS)
    return [
        f"## G8: from the node's file to searchable, {lines:,} lines a round",
        "",
        *result.lines(FLOOR),
        "",
        f"{rate:,.0f} lines/s (goal at least {GOAL_RATE:,}: {_word(reached=rate >= GOAL_RATE)}),"
        f" {cpu_s:.2f} CPU-s per million lines of agent, nats-server and log store together"
        f" (goal at most {GOAL_CPU_S:g}: {_word(reached=cpu_s <= GOAL_CPU_S)}).",
        "",
    ]


def _word(*, reached: bool) -> str:
    return "reached" if reached else "not reached"


def main() -> None:
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    lines = FULL_LINES if is_full_size() else LINES
    with tempfile.TemporaryDirectory() as folder:
        print("\n".join(report(uvloop.run(measure(lines, Path(folder))), lines)))


if __name__ == "__main__":
    main()
