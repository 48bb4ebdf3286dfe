"""G8 and G9, the log store's part: taking blocks in, from the bus to confirmed and searchable, against a process that only packs and writes.

The store is a real process behind a real nats-server over TLS; blocks of 512 KiB of records come packed, as nodes send them.  The floor packs
the same lines with zstd-1 in chunks of 512 KiB into one file, each chunk with its fsync, and knows neither what nor whose they are.
`python -m bench.g8_store`
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import uvloop
import zstandard

from bench.harness import Comparison, compare, is_full_size
from bench.sample_log import BLOCK_BYTES, START_NS, blocks, texts
from lattice.bus import NatsBus
from lattice.contracts.catalogue import LOG_BLOCK, LOGS_STORED
from lattice.contracts.messages import LogBlock, LogsStored
from lattice.log_records import pack
from lattice.messaging import Outgoing, Received
from lattice.number_ranges import Ranges, added
from services.logs.index import Segment, StoredBlock
from services.logs.retention import Limits
from services.logs.store import LogStore
from tests.fixtures.log_process import LogProcess, a_bus, a_registry, log_process
from tests.fixtures.nats import make_nats_server

OURS, FLOOR = "log store", "zstd-1 chunk file"
NODE, WORKLOADS = "nd-a", 4
LINES, FULL_LINES = 200_000, 1_000_000
GOAL_CPU_S, GOAL_DISK = 0.9, 0.24
# Nothing is packed while the taking in is measured; that is measured by itself.
SETTINGS = {"pack_every_s": "86400", "log_level": "WARNING"}
_AT_ONCE = 16


@dataclass(frozen=True)
class Sample:
    """The same lines as text and as packed blocks."""

    chunks: Sequence[bytes]
    blocks: Sequence[tuple[int, bytes]]

    @property
    def lines(self) -> int:
        return sum(count for count, _ in self.blocks)

    @property
    def text_bytes(self) -> int:
        return sum(map(len, self.chunks))


def sample(count: int) -> Sample:
    text = "\n".join([*texts(count), ""]).encode()
    chunks = [text[start : start + BLOCK_BYTES] for start in range(0, len(text), BLOCK_BYTES)]
    return Sample(chunks, [(n, pack(records)) for n, records in blocks(texts(count))])


@dataclass
class Node:
    """Sends the sample again and again, as lines that go on."""

    bus: NatsBus
    sample: Sample
    store: LogProcess
    sent: list[int] = field(default_factory=lambda: [0] * WORKLOADS)
    stored: dict[str, Ranges] = field(default_factory=dict)
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    cpu_s: list[float] = field(default_factory=list)

    async def hear(self, received: Received[LogsStored]) -> None:
        for each in received.message.stored:
            self.stored[each.source] = added(self.stored.get(each.source, ()), (each.first, each.last))
        self.heard.set()

    async def send(self) -> int:
        """All of the sample; returns when all is confirmed."""
        before_s = _cpu_s(self.store.pid)
        outgoing = [self._outgoing(n, *block) for n, block in enumerate(self.sample.blocks)]
        for start in range(0, len(outgoing), _AT_ONCE):
            await self.bus.append_all(outgoing[start : start + _AT_ONCE])
        while not self._all_stored():
            self.heard.clear()
            await self.heard.wait()
        self.cpu_s.append(_cpu_s(self.store.pid) - before_s)
        return self.sample.lines

    def _outgoing(self, number: int, count: int, body: bytes) -> Outgoing[LogBlock]:
        workload = number % WORKLOADS
        first, last = self.sent[workload] + 1, self.sent[workload] + count
        self.sent[workload] = last
        about = LogBlock(
            node_id=NODE, workload_id=f"wl-{workload}", instance_id=f"in-{workload}", project="default", slot=0, epoch=1,
            source=f"container-{workload}", first=first, last=last, first_at_ns=START_NS + first, last_at_ns=START_NS + last,
        )  # fmt: skip
        tokens = {"node_id": NODE, "workload_id": about.workload_id}
        return Outgoing(LOG_BLOCK, about, f"{about.source}-{first}", tokens, body)

    def _all_stored(self) -> bool:
        wanted = {f"container-{n}": ((1, last),) for n, last in enumerate(self.sent) if last}
        return self.stored == wanted


@dataclass
class Floor:
    """Packs and writes, in this process."""

    path: Path
    sample: Sample
    size_bytes: int = 0

    async def write(self) -> int:
        compressor = zstandard.ZstdCompressor(level=1)
        with self.path.open("wb") as file:
            for chunk in self.sample.chunks:
                file.write(compressor.compress(chunk))
                file.flush()
                os.fsync(file.fileno())
            self.size_bytes = file.tell()
        return self.sample.lines


@dataclass(frozen=True, slots=True)
class Packing:
    """What packing all closed segments took, and what is on disk before and after."""

    cpu_s: float
    before_bytes: int
    after_bytes: int
    filter_bytes: int


async def measure(count: int, folder: Path) -> tuple[Comparison, Node, Floor]:
    made = sample(count)
    server = make_nats_server(folder / "nats")
    server.start()
    store = log_process(server, folder, **SETTINGS)
    owners = {f"in-{n}": ("default", f"wl-{n}", f"name-{n}") for n in range(WORKLOADS)}
    try:
        async with a_registry(server, {NODE: owners}), a_bus(server, server.node(NODE)) as bus:
            await store.start()
            node, floor = Node(bus, made, store), Floor(folder / "chunks", made)
            await bus.subscribe(LOGS_STORED, node.hear, node_id=NODE)
            assert server.process is not None
            pids = [server.process.pid, store.pid]
            result = await compare({OURS: node.send, FLOOR: floor.write}, own_pids=pids)
            return result, node, floor
    finally:
        store.stop()
        server.kill()


def packing(folder: Path) -> Packing:
    """Everything that was taken in, packed as it is when a segment is closed."""
    store = LogStore(folder, Limits(segment_bytes=1, segment_age_s=1))
    before = _size(folder)
    began_cpu_s = time.process_time()
    while (closed := store.close_next(time.time_ns())) is not None:
        _pack(store, *closed)
    took_s = time.process_time() - began_cpu_s
    filters = sum(
        block.words.size for log in store.index.logs.values() for block in log.blocks if block.words
    )
    store.close()
    return Packing(took_s, before, _size(folder), filters)


def _pack(store: LogStore, segment: Segment, found: list[StoredBlock]) -> None:
    packed = store.pack(segment, found, threading.Event())
    assert packed is not None
    store.packed(segment, packed)


def _cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*/*/*"))


def report(result: Comparison, node: Node, floor: Floor, packed: Packing) -> list[str]:
    per_million = statistics.median(node.cpu_s[1:]) / node.sample.lines * 1e6
    turns = len(node.cpu_s)
    text, millions = node.sample.text_bytes * turns, node.sample.lines * turns / 1e6
    raw, after = packed.before_bytes / text, packed.after_bytes / text
    floor_disk = floor.size_bytes / node.sample.text_bytes
    return [
        f"## G8, G9 log store: {node.sample.lines:,} lines of {node.sample.text_bytes / node.sample.lines:.0f} bytes a round",
        "",
        *result.lines(FLOOR),
        "",
        f"CPU of the store's process: {per_million:.2f} s per million lines (goal at most {GOAL_CPU_S:g}:"
        f" {'reached' if per_million <= GOAL_CPU_S else 'not reached'}); the table counts the sender and nats-server, too.",
        f"Packing closed segments, in the background: {packed.cpu_s / millions:.2f} s per million lines.",
        f"Disk per byte of text: {raw:.3f} as taken in, {after:.3f} packed, of which word filters {packed.filter_bytes / text:.3f};"
        f" {FLOOR} {floor_disk:.3f} (goal at most {GOAL_DISK:g}: {'reached' if after <= GOAL_DISK else 'not reached'}).",
        "",
    ]


def main() -> None:
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    count = FULL_LINES if is_full_size() else LINES
    with tempfile.TemporaryDirectory() as folder:
        result, node, floor = uvloop.run(measure(count, Path(folder)))
        print("\n".join(report(result, node, floor, packing(node.store.data_dir))))


if __name__ == "__main__":
    main()
