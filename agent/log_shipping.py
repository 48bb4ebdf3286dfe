"""The logs of one node's containers: collected into the spool, sent from there, and how far each was read kept in the journal.

The journal never runs ahead of what the spool has on disk, and no file of the spool goes before the positions in it are in the journal: so after
a kill at any point each record has the same number again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from agent.journal import Journal
from agent.log_chunks import LogSource
from agent.log_collecting import LogCollecting
from agent.log_place import LogPosition
from agent.log_sending import LogSending
from agent.log_spool import DEFAULT_BYTES, LogSpool
from agent.naming import INSTANCE, PROJECT, key_from
from agent.node_events import NodeEvents
from lattice.messaging import Bus, Subscription
from lattice.runtime import Container, RunState, Runtime

_KEEP_EVERY_S = 1.0
# Whose last lines are still known when the decider notes, a moment later, that they are gone.
_GONE_REMEMBERED = 64


class LogShipping:
    """Ships the logs of all containers of this cluster."""

    def __init__(
        self,
        node_id: str,
        runtime: Runtime,
        bus: Bus,
        journal: Journal,
        events: NodeEvents,
        *,
        folder: Path,
        most_bytes: int = DEFAULT_BYTES,
    ) -> None:
        self._node_id, self._journal, self._events = node_id, journal, events
        self.spool = LogSpool(folder, most_bytes=most_bytes)
        self.sending = LogSending(node_id, bus, self.spool, events)
        self.collecting = LogCollecting(
            runtime, self.spool, is_urgent=lambda: bus.connected, lost=self._tell_rotated
        )
        self._positions: dict[str, LogPosition] = {}
        self._gone: dict[str, tuple[str, ...]] = {}

    async def start(self) -> Subscription:
        """Find out how far each log was read, and hear what is stored."""
        self._positions = await self.spool.open(self._journal.positions)
        return await self.sending.start()

    def watch(self, containers: Iterable[Container], *, is_complete: bool = True) -> None:
        """Follow these, as far as they ever ran; where they are all that there are, the others are gone."""
        there = {each.id: each for each in containers if each.state is not RunState.CREATED}
        if is_complete:
            self._forget_gone(there.keys())
        for container in there.values():
            if container.id not in self.collecting.followed:
                self._follow(container)
            self.collecting.poke(container.id, container.started_at)

    def tails(self, container_ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """The last lines of these containers, also of those that are gone since a short while."""
        followed = self.collecting.followed
        found = {
            each: self.collecting.tail(each) if each in followed else self._gone.get(each)
            for each in container_ids
        }
        return {each: lines for each, lines in found.items() if lines is not None}

    async def read_out(self, container_id: str, *, timeout_s: float) -> None:
        """Wait until everything that an ended container wrote was read, but not longer than `timeout_s`."""
        await self.collecting.read_to_end(container_id, timeout_s=timeout_s)

    async def catch_up(self, container_ids: Iterable[str]) -> None:
        """Read what ended containers have in their files, without waiting for the next round."""
        for container_id in container_ids:
            await self.collecting.catch_up(container_id)

    async def drain(self, container: Container, *, timeout_s: float) -> None:
        """Have everything that an ended container wrote in the spool and on disk, unless that takes longer than `timeout_s`."""
        with suppress(OSError):  # a disk that is full must not keep anything from being removed
            if await self.collecting.read_to_end(container.id, timeout_s=timeout_s):
                await self.spool.flush()
                return
        self._events.tell(
            "logs_lost",
            f"the container was removed before the last lines of its log could be kept within {timeout_s:g} s",
            key=key_from(container.labels),
        )

    async def keep(self) -> None:
        """Keep how far each log was read, for ever."""
        while True:
            await self.spool.changed.wait()
            self.spool.changed.clear()
            await self._keep()
            await asyncio.sleep(_KEEP_EVERY_S)

    async def close(self) -> None:
        """Stop reading, and keep how far it came."""
        await self.collecting.close()
        await self._keep()
        self.spool.close()

    def _follow(self, container: Container) -> None:
        key = key_from(container.labels)
        if key is None:
            return
        source = LogSource(
            node_id=self._node_id,
            container_id=container.id,
            key=key,
            instance_id=container.labels.get(INSTANCE, ""),
            project=container.labels.get(PROJECT, ""),
        )
        position = self._positions.get(container.id, LogPosition())
        self.collecting.follow(source, container, position)

    def _forget_gone(self, there: Collection[str]) -> None:
        for container_id in self.collecting.followed.difference(there):
            self._gone[container_id] = self.collecting.unfollow(container_id)
        for container_id in list(self._gone)[:-_GONE_REMEMBERED]:
            del self._gone[container_id]
        self._positions = {each: self._positions[each] for each in self._positions if each in there}
        self.spool.counts.keep_only(there)

    def _tell_rotated(self, source: LogSource) -> None:
        self._events.tell(
            "logs_lost", "the node's log files were rotated before they were read", key=source.key
        )

    async def _keep(self) -> None:
        self._positions |= self.collecting.positions()
        positions = dict(self._positions)
        await self.spool.flush()
        if positions != self._journal.positions:
            await self._journal.keep_positions(positions)
        await self.spool.tidy()
