"""The nodes as a scheduler sees them: read once in a term, page by page, and after that only what has changed.

What it sees may be older than what is: the registry compares each placement with the node as it is, refuses what was decided on an old sight, and
answers with the new one.  All nodes are read again now and then, so that no mistake stays.
"""

from __future__ import annotations

import asyncio
from datetime import datetime

from lattice.contracts.catalogue import SCHEDULING_SNAPSHOT
from lattice.contracts.messages import PlacementRequest, SchedulableNode, SchedulingQuery, SchedulingSnapshot
from lattice.messaging import Bus

READ_ALL_EVERY_S = 600.0


class Sight:
    """What one term has seen so far; `nodes` may be written by whoever learns more."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.nodes: dict[str, SchedulableNode] = {}
        self._since: datetime | None = None
        self._read_all_s = 0.0
        self._images: frozenset[str] = frozenset()

    async def look(self, workload_ids: frozenset[str] | None) -> SchedulingSnapshot:
        """What wants a place, of these workloads or (None) of all; `nodes` is up to date afterwards.  Raises Temporary."""
        if self._since is None or asyncio.get_running_loop().time() - self._read_all_s > READ_ALL_EVERY_S:
            return await self._read_all(workload_ids)
        query = SchedulingQuery(workload_ids=workload_ids, image_ids=self._images, since=self._since)
        answer = await self._bus.ask(SCHEDULING_SNAPSHOT, query)
        if answer.more_after is not None or not images_of(answer.wanted) <= self._images:
            # More changed than one answer holds; or of nodes that did not change nobody has said yet whether they have this image.
            return await self._read_all(workload_ids)
        self.nodes.update((node.node_id, node) for node in answer.nodes)
        for node_id in answer.gone:
            self.nodes.pop(node_id, None)
        self._since = answer.at
        return answer

    async def _read_all(self, workload_ids: frozenset[str] | None) -> SchedulingSnapshot:
        self._since = None
        first, nodes = await read_all(self._bus, SchedulingQuery(workload_ids=workload_ids))
        self.nodes, self._images = nodes, images_of(first.wanted)
        self._since, self._read_all_s = first.at, asyncio.get_running_loop().time()
        return first


async def read_all(bus: Bus, query: SchedulingQuery) -> tuple[SchedulingSnapshot, dict[str, SchedulableNode]]:
    """The first answer, and all nodes, page by page."""
    first = answer = await bus.ask(SCHEDULING_SNAPSHOT, query)
    nodes = {node.node_id: node for node in first.nodes}
    images = query.image_ids | images_of(first.wanted)
    while answer.more_after is not None:
        page = SchedulingQuery(workload_ids=frozenset(), image_ids=images, after=answer.more_after)
        answer = await bus.ask(SCHEDULING_SNAPSHOT, page)
        nodes.update((node.node_id, node) for node in answer.nodes)
    return first, nodes


def images_of(requests: tuple[PlacementRequest, ...]) -> frozenset[str]:
    """The images that have to be on a node already."""
    return frozenset(request.image_id for request in requests if request.image_id is not None)
