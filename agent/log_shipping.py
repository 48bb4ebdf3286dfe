"""A follower per container, and how far each is, kept in the journal.

At least once: after a crash a few blocks are sent again with the same numbers, and the store tells them by those.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress

from agent.journal import Journal
from agent.log_follower import LogFollower, LogSource
from agent.log_lines import LogPosition
from agent.naming import INSTANCE, PROJECT, key_from
from agent.node_events import NodeEvents
from lattice.cancelling import cancel_and_wait
from lattice.messaging import Bus
from lattice.runtime import Container, RunState, Runtime

_KEEP_EVERY_S = 1.0
# Whose last lines are still known when the decider notes, a moment later, that they are gone.
_GONE_REMEMBERED = 64


class LogShipping:
    """Ships the logs of all containers of this cluster."""

    def __init__(
        self, node_id: str, runtime: Runtime, bus: Bus, journal: Journal, events: NodeEvents
    ) -> None:
        self._node_id, self._runtime, self._bus = node_id, runtime, bus
        self._journal, self._events = journal, events
        self._followers: dict[str, tuple[LogFollower, asyncio.Task[None]]] = {}
        self._gone: dict[str, tuple[str, ...]] = {}

    def watch(self, containers: Iterable[Container]) -> None:
        """Follow exactly these, as far as they ever ran."""
        there = {each.id: each for each in containers if each.state is not RunState.CREATED}
        for container_id in self._followers.keys() - there.keys():
            follower, task = self._followers.pop(container_id)
            task.cancel()
            self._gone[container_id] = tuple(follower.tail)
        for container_id in list(self._gone)[:-_GONE_REMEMBERED]:
            del self._gone[container_id]
        for container in there.values():
            if container.id not in self._followers:
                self._follow(container)
            if container.id in self._followers:
                self._followers[container.id][0].poke(container.started_at)

    def tails(self, container_ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """The last lines of these containers, also of those that are gone since a short while."""
        known = self._gone | {each: tuple(follower.tail) for each, (follower, _) in self._followers.items()}
        return {each: known[each] for each in container_ids if each in known}

    async def read_out(self, container_id: str, *, timeout_s: float) -> None:
        """Wait until everything that an ended container wrote was read, but not longer than `timeout_s`."""
        found = self._followers.get(container_id)
        if found is not None and not found[1].done():
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await found[0].read_out.wait()

    async def drain(self, container: Container, *, timeout_s: float) -> None:
        """Wait until everything that an ended container wrote is shipped, but not longer than `timeout_s`."""
        found = self._followers.get(container.id)
        if found is None or found[1].done():
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await found[0].drained.wait()
            return
        self._events.tell(
            "logs_lost",
            f"the container was removed before the last lines of its log could be stored within {timeout_s:g} s",
            key=key_from(container.labels),
        )

    async def run(self) -> None:
        """Keep how far each log is shipped, for ever."""
        while True:
            await asyncio.sleep(_KEEP_EVERY_S)
            await self._keep()

    async def close(self) -> None:
        """Stop following, and keep how far it came."""
        tasks = [task for _, task in self._followers.values()]
        await cancel_and_wait(tasks)
        await self._keep()

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

        def lost() -> None:
            self._events.tell("logs_lost", "the node's log files were rotated before they were read", key=key)

        position = self._journal.positions.get(container.id, LogPosition())
        follower = LogFollower(source, self._runtime, self._bus, position, lost=lost)
        self._followers[container.id] = (follower, asyncio.create_task(follower.run()))

    async def _keep(self) -> None:
        """Positions of containers that are gone are forgotten, once containers are known at all."""
        positions = {each: follower.position for each, (follower, _) in self._followers.items()}
        if self._followers and positions != self._journal.positions:
            await self._journal.keep_positions(positions)
