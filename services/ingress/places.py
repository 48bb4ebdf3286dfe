"""Where visitors are led: the routes as they are now, the nodes that are connected, and how busy each instance is.

A visitor who comes while the only instance is still getting ready, or while its node connects anew, waits a little instead of being turned away:
what a deploy has just called running answers its first visitor, and the restart of a connection is a pause and not an error.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass

from lattice.contracts.messages import RouteDocument, TunnelTarget
from lattice.errors import Temporary
from lattice.tunnel_stream import TunnelStream
from services.ingress.routing import Nowhere, RouteTable, choose
from services.ingress.tunnels import Tunnels


@dataclass(frozen=True, slots=True)
class Led:
    """A stream that leads to an instance."""

    stream: TunnelStream
    instance_id: str


class Places:
    """Shared by all fronts; `busy` counts the visitors of each instance, `patience_s` is how long one waits for a place."""

    def __init__(self, tunnels: Tunnels, *, patience_s: float) -> None:
        self._tunnels, self._patience_s = tunnels, patience_s
        self.table = RouteTable()
        self.busy: Counter[str] = Counter()
        self._waiting: dict[str, asyncio.Event] = {}

    def take(self, document: RouteDocument) -> None:
        """A route changed, came or went."""
        self.table = self.table.with_document(document)
        self._look_again(document.route_id)

    def node_came(self) -> None:
        """A node is connected that was not: any route may lead there."""
        for route_id in [*self._waiting]:
            self._look_again(route_id)

    def came(self, instance_id: str) -> None:
        """An instance has a visitor more."""
        self.busy[instance_id] += 1

    def went(self, instance_id: str) -> None:
        """It has one fewer."""
        self.busy[instance_id] -= 1
        if not self.busy[instance_id]:
            del self.busy[instance_id]

    def lead(self, route: RouteDocument, *, but: frozenset[str] = frozenset()) -> Led | Nowhere:
        """A stream to the least busy instance, as things are; to none of `but`, which were tried."""
        endpoint = choose(route, self._tunnels.reachable, self.busy, but)
        if isinstance(endpoint, Nowhere):
            return endpoint
        target = TunnelTarget(instance_id=endpoint.instance_id, container_port=endpoint.container_port)
        try:
            return Led(self._tunnels.open(endpoint.node_id, target), endpoint.instance_id)
        except Temporary as error:
            return Nowhere(error.detail, passing=True)

    async def lead_soon(self, route: RouteDocument, *, but: frozenset[str] = frozenset()) -> Led | Nowhere:
        """The same, with patience where an instance is about to be there."""
        found = self.lead(route, but=but)
        try:
            async with asyncio.timeout(self._patience_s):
                while isinstance(found, Nowhere) and found.passing:
                    await self._waiting.setdefault(route.route_id, asyncio.Event()).wait()
                    found = self._again(route, but)
        except TimeoutError:
            pass
        return found

    def _again(self, route: RouteDocument, but: frozenset[str]) -> Led | Nowhere:
        now = self.table.by_id.get(route.route_id, route)
        if now.released or now.taken_down:
            return Nowhere("it has just been closed")
        return self.lead(now, but=but)

    def _look_again(self, route_id: str) -> None:
        if (event := self._waiting.pop(route_id, None)) is not None:
            event.set()
