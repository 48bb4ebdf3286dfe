"""What the platform itself has to say, on its way into the log store like the logs of workloads.

Every service, and every agent, keeps its newest lines in a bounded space and sends them as blocks; where the space is full the oldest go, and a
gap says how many.  Nothing waits for it: a process writes its log on standard error first, and this is a copy.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from loguru import logger

from lattice import log_records
from lattice.contracts.catalogue import LOG_BLOCK, SERVICE_LOG
from lattice.contracts.messages import AGENT_LOG, PLATFORM, PLATFORM_NODE, GapCause, LogBlock, LogGap
from lattice.errors import Temporary
from lattice.messaging import Bus
from lattice.number_ranges import Ranges, added, without
from lattice.process_log import json_line

if TYPE_CHECKING:
    from loguru import Message

ROOM_BYTES = 2**20
_BLOCK_BYTES = 128 * 1024
_FLUSH_S, _RETRY_S, _LAST_WORDS_S = 0.5, 2.0, 1.0


@dataclass(frozen=True, slots=True)
class Part:
    """Who speaks: a service of the platform, or a node's agent; `run_id` (hex) is another one at each start, because numbers begin anew."""

    name: str
    run_id: str
    node_id: str = PLATFORM_NODE

    def block(self, first: int, last: int, records: bytes) -> LogBlock:
        """Describes these records."""
        first_at_ns, last_at_ns = log_records.first_and_last_ns(records)
        return self._block(first, last, first_at_ns, last_at_ns, None)

    def gap(self, first: int, last: int, at_ns: int) -> LogBlock:
        """Describes lines that are lost."""
        return self._block(
            first, last, at_ns, at_ns, LogGap(cause=GapCause.SPOOL_FULL, lines=last - first + 1)
        )

    def _block(
        self, first: int, last: int, first_at_ns: int, last_at_ns: int, gap: LogGap | None
    ) -> LogBlock:
        return LogBlock(
            node_id=self.node_id,
            workload_id=self.name,
            instance_id=self.node_id,
            project=PLATFORM,
            slot=0,
            epoch=0,
            source=self.run_id,
            first=first,
            last=last,
            first_at_ns=first_at_ns,
            last_at_ns=last_at_ns,
            gap=gap,
        )


@dataclass(slots=True)
class Kept:
    """Lines that wait to be sent, numbered from 1 on.  Any thread may add one."""

    room_bytes: int = ROOM_BYTES
    _records: deque[bytes] = field(default_factory=deque)
    _size_bytes: int = 0
    _first: int = 1  # the number of the oldest that waits
    _lost: Ranges = ()
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, record: bytes) -> None:
        """Keep a line; the oldest ones make room for it."""
        with self._lock:
            self._records.append(record)
            self._size_bytes += len(record)
            while self._size_bytes > self.room_bytes and len(self._records) > 1:
                self._lost = added(self._lost, (self._first, self._first))
                self._drop()

    def lost(self) -> tuple[int, int] | None:
        """The oldest numbers of lines that were let go and not told yet."""
        with self._lock:
            return self._lost[0] if self._lost else None

    def lost_is_told(self, last: int) -> None:
        """What was lost up to this number need not be told again."""
        with self._lock:
            self._lost = without(self._lost, (0, last))

    def oldest(self) -> tuple[int, bytes] | None:
        """The number of the oldest line, and as many lines as make a block; they stay until `sent`."""
        with self._lock:
            chosen, size = list[bytes](), 0
            for record in self._records:
                if chosen and size + len(record) > _BLOCK_BYTES:
                    break
                chosen.append(record)
                size += len(record)
            return (self._first, b"".join(chosen)) if chosen else None

    def sent(self, first: int, last: int) -> None:
        """These lines are on their way, also those that had to make room meanwhile."""
        with self._lock:
            self._lost = without(self._lost, (first, last))
            while self._records and self._first <= last:
                self._drop()

    def _drop(self) -> None:
        self._size_bytes -= len(self._records.popleft())
        self._first += 1


class OwnLogs:
    """Sends what this process logs from now on; `run` is its loop."""

    def __init__(self, part: Part, bus: Bus) -> None:
        self._part, self._bus = part, bus
        self.kept = Kept()

    @classmethod
    def of_service(cls, name: str, bus: Bus) -> OwnLogs:
        """For a service of the platform."""
        return cls(Part(name, secrets.token_hex(16)), bus)

    @classmethod
    def of_agent(cls, node_id: str, bus: Bus) -> OwnLogs:
        """For the agent of a node."""
        return cls(Part(AGENT_LOG, secrets.token_hex(16), node_id), bus)

    async def run(self) -> None:
        """Send for ever; what was said last is tried once more at the end."""
        sink = logger.add(self._keep, level="INFO", format="{message}")
        try:
            while True:
                await asyncio.sleep(_FLUSH_S if await self._send_all() else _RETRY_S)
        finally:
            logger.remove(sink)
            with suppress(TimeoutError, asyncio.CancelledError):
                async with asyncio.timeout(_LAST_WORDS_S):
                    await self._send_all()

    def _keep(self, message: Message) -> None:
        moment = message.record["time"]
        time_ns = int(moment.timestamp()) * 10**9 + moment.microsecond * 1000
        self.kept.add(log_records.record(time_ns, "stderr", json_line(message.record) + "\n"))

    async def _send_all(self) -> bool:
        """Whether everything that waited is on the stream."""
        try:
            await self._tell_lost()
            while (waiting := self.kept.oldest()) is not None:
                first, records = waiting
                last = first + log_records.count(records) - 1
                await self._append(self._part.block(first, last, records), log_records.pack(records))
                self.kept.sent(first, last)
        except Temporary:
            return False
        return True

    async def _tell_lost(self) -> None:
        while (lost := self.kept.lost()) is not None and (waiting := self.kept.oldest()) is not None:
            at_ns = log_records.first_and_last_ns(waiting[1])[0]
            await self._append(self._part.gap(*lost, at_ns), b"")
            self.kept.lost_is_told(lost[1])

    async def _append(self, about: LogBlock, body: bytes) -> None:
        msg_id = f"log-{about.source}-{about.first}-{about.last}"
        if about.node_id == PLATFORM_NODE:
            await self._bus.append(SERVICE_LOG, about, msg_id=msg_id, body=body, service=about.workload_id)
        else:
            await self._bus.append(
                LOG_BLOCK, about, msg_id=msg_id, body=body, node_id=about.node_id, workload_id=AGENT_LOG
            )
