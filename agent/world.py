"""What the agent believes is on the Engine, kept true by its own acts, by events, and by listing everything now and then.

An act and the look that follows it are one step per container, so a look that was made before an act never overwrites what the act brought
about: otherwise a container just restarted could seem dead once more, and be counted twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping

from agent.naming import VOLUME
from lattice.runtime import Container, EngineEvent, Runtime


class World:
    """The containers and volumes of one cluster on one Engine."""

    def __init__(self, runtime: Runtime, cluster_id: str) -> None:
        self._runtime, self._cluster_id = runtime, cluster_id
        self._containers: dict[str, Container] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._stamps: dict[str, int] = {}
        self._stamp = 0
        self._volumes: Mapping[str, Mapping[str, str]] = {}
        self.complete = False
        """Whether everything was listed since the Engine was last away: until then absence means nothing."""

    @property
    def containers(self) -> tuple[Container, ...]:
        return tuple(self._containers.values())

    @property
    def volume_ids(self) -> tuple[str, ...]:
        """The ids of the volumes that are here."""
        return tuple(sorted(labels[VOLUME] for labels in self._volumes.values() if VOLUME in labels))

    def get(self, name: str) -> Container | None:
        return self._containers.get(name)

    def shows(self, event: EngineEvent) -> bool:
        """Whether an event is no news: the echo of our own act, after which we looked already."""
        container = self._containers.get(event.name)
        if container is None or container.id != event.container_id:
            return False
        return event.action == "create" or (event.action == "start" and container.is_up)

    async def act(self, name: str, act: Awaitable[Container | None]) -> None:
        """Do something to one container; what it returns is what is there now."""
        async with self._lock(name):
            self._put(name, await act)

    async def look(self, name: str) -> None:
        """Look at one container."""
        await self.act(name, self._runtime.container(name))

    async def list_all(self) -> None:
        """Look at everything."""
        began = self._stamp
        found = {container.name: container for container in await self._runtime.containers(self._cluster_id)}
        self._volumes = await self._runtime.volumes(self._cluster_id)
        for name in [*found, *(self._containers.keys() - found.keys())]:
            if self._stamps.get(name, 0) <= began and not self._lock(name).locked():
                self._put(name, found.get(name))
        self._forget_gone(found)
        self.complete = True

    async def look_at_volumes(self) -> None:
        """Look at the volumes alone."""
        self._volumes = await self._runtime.volumes(self._cluster_id)

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())

    def _put(self, name: str, container: Container | None) -> None:
        self._stamp += 1
        self._stamps[name] = self._stamp
        if container is None:
            self._containers.pop(name, None)
        else:
            self._containers[name] = container

    def _forget_gone(self, found: Iterable[str]) -> None:
        gone = self._stamps.keys() - self._containers.keys() - set(found)
        for name in gone:
            if not self._lock(name).locked():
                del self._stamps[name], self._locks[name]
