"""The log store is killed again and again while a node sends: what it has confirmed is there, once, and nothing torn is served.

The node does what a node does: it lets go of nothing that was not confirmed, asks after each start, and sends again what is not stored.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lattice import log_records
from lattice.bus import NatsBus
from lattice.contracts.catalogue import LOG_BLOCK, LOGS_HELD, LOGS_STORED
from lattice.contracts.messages import PLATFORM, LogBlock, LogRange, LogsHeld, LogsStored
from lattice.messaging import Received
from lattice.number_ranges import Ranges, added, inside
from services.logs.segments import read_body
from tests.fixtures.log_blocks import a_block, numbered_body, text_of
from tests.fixtures.log_process import LogProcess, a_bus, a_registry, log_process
from tests.fixtures.log_store import opened
from tests.fixtures.nats import NatsServer
from tests.fixtures.reliability import Record

NODE = "nd-a"
WORKLOADS = 3
SEED = 11
# Small, so that segments are closed and packed all the time, and kills meet that, too.
SETTINGS = {"segment_bytes": "30000", "pack_every_s": "0.05"}


@dataclass
class Spool:
    """What the node has sent and nobody has confirmed, and what was confirmed."""

    bus: NatsBus
    chance: random.Random
    waiting: list[LogBlock] = field(default_factory=list)
    stored: dict[str, Ranges] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)
    sends: itertools.count[int] = field(default_factory=itertools.count)

    async def hear(self, received: Received[LogsStored]) -> None:
        assert not received.message.refused
        for each in received.message.stored:
            self.stored[each.source] = added(self.stored.get(each.source, ()), (each.first, each.last))
        self.waiting = [block for block in self.waiting if not self._has(block)]

    def _has(self, block: LogBlock) -> bool:
        lines = (block.first, block.last)
        return inside(self.stored.get(block.source, ()), lines) == [lines]

    async def print_on(self) -> None:
        """Send blocks for ever, as fast as the store confirms them."""
        while True:
            if len(self.waiting) < 200:
                await self.send(self._next())
            await asyncio.sleep(0.001)

    def _next(self) -> LogBlock:
        number = self.chance.randrange(WORKLOADS)
        source = f"container-{number}"
        first = self.sent[source] + 1
        self.sent[source] += self.chance.randint(1, 60)
        block = a_block(
            first, self.sent[source], source=source, workload_id=f"wl-{number}", instance_id=f"in-{number}"
        )
        self.waiting.append(block)
        return block

    async def send(self, block: LogBlock) -> None:
        await self.bus.append(
            LOG_BLOCK, block, msg_id=f"{block.source}-{next(self.sends)}",
            body=numbered_body(block.first, block.last), node_id=NODE, workload_id=block.workload_id,
        )  # fmt: skip

    async def ask(self) -> None:
        """What of it is stored; in messages of a size that every node may send."""
        for start in range(0, len(self.waiting), 500):
            part = self.waiting[start : start + 500]
            ranges = [LogRange(source=block.source, first=block.first, last=block.last) for block in part]
            await self.bus.publish(LOGS_HELD, LogsHeld(ranges=tuple(ranges)), node_id=NODE)

    async def send_all_again(self) -> None:
        """Until all is confirmed."""
        async with asyncio.timeout(60):
            while self.waiting:
                await self.ask()
                await asyncio.sleep(0.3)
                for block in tuple(self.waiting):
                    await self.send(block)


@pytest.mark.soak
@pytest.mark.timeout(0)
async def test_what_was_confirmed_is_there_once_whenever_it_is_killed(
    own_nats_server: NatsServer, tmp_path: Path, full_size: bool, record: Record
) -> None:
    own_nats_server.start()
    kills = 40 if full_size else 3
    store = log_process(own_nats_server, tmp_path, **SETTINGS)
    owners = {f"in-{n}": ("default", f"wl-{n}", f"name-{n}") for n in range(WORKLOADS)}
    async with (
        a_registry(own_nats_server, {NODE: owners}),
        a_bus(own_nats_server, own_nats_server.node(NODE)) as bus,
    ):
        spool = Spool(bus, random.Random(SEED))
        await bus.subscribe(LOGS_STORED, spool.hear, node_id=NODE)
        printing = asyncio.create_task(spool.print_on())
        for _ in range(kills):
            await run_and_kill(store, spool)
        printing.cancel()
        await store.start()
        await spool.send_all_again()
        store.kill()
    assert spool.stored == {source: ((1, last),) for source, last in spool.sent.items()}
    cut = check_all_is_there(store, spool)
    record(
        "kill -9 of the log store while a node sends",
        f"{kills} kills: each of {spool.sent.total()} lines that were confirmed is there once; {cut} torn ends were cut off",
    )


async def run_and_kill(store: LogProcess, spool: Spool) -> None:
    """Start it, and kill it at some moment while it writes and packs."""
    await store.start()
    await spool.ask()
    await asyncio.sleep(spool.chance.random() * 0.8)
    store.kill()


def check_all_is_there(store: LogProcess, spool: Spool) -> int:
    """Every line once, in a store that is opened as after a crash; how many torn ends there were."""
    with opened(store.data_dir) as found:
        assert all(damage.cut for damage in found.damage)
        lines: dict[str, list[int]] = {source: [] for source in spool.sent}
        logs = found.index.logs.items()
        for log in (log for (project, _), log in logs if project != PLATFORM):  # the process logs too
            for block in log.blocks:
                about = block.header.block
                records = log_records.unpack(read_body(block))
                for line in log_records.lines(records, about.first):
                    assert line.text == text_of(line.number)
                    lines[about.source].append(line.number)
        for source, last in spool.sent.items():
            assert sorted(lines[source]) == list(range(1, last + 1))
        assert any(path.suffix == ".packed" for path in store.data_dir.glob("*/*/*")), "kills met no packing"
        return len(found.damage)
