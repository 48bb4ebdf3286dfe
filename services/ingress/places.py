"""Where visitors are led: the routes and links as they are now, the nodes that are connected, and how busy each instance is.

Who comes while the only instance is still getting ready, or while its node connects anew, waits a little instead of being turned away: what a
deploy has just called running answers its first visitor, and the restart of a connection is a pause and not an error.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lattice.contracts.messages import LinkCall, LinkDocument, RouteDocument, TunnelTarget
from lattice.errors import Temporary
from lattice.tunnel_stream import TunnelStream
from services.ingress.link_table import LinkTable
from services.ingress.routing import Destination, Nowhere, RouteTable, choose
from services.ingress.tunnels import Tunnels


@dataclass(frozen=True, slots=True)
class Led:
    """A stream that leads to an instance."""

    stream: TunnelStream
    instance_id: str


Looks = Callable[[], Destination | Nowhere]


class Places:
    """Shared by all fronts; `busy` counts the visitors of each instance, `patience_s` is how long one waits for a place."""

    def __init__(self, tunnels: Tunnels, *, patience_s: float) -> None:
        self._tunnels, self._patience_s = tunnels, patience_s
        self.table = RouteTable()
        self.links = LinkTable()
        self.busy: Counter[str] = Counter()
        self._waiting: dict[str, set[asyncio.Event]] = {}

    def take(self, documents: Sequence[RouteDocument]) -> None:
        """Routes changed, came or went."""
        self.table = self.table.with_documents(documents)
        for document in documents:
            self._look_again(document.route_id)

    def take_links(self, documents: Sequence[LinkDocument]) -> None:
        """Workloads that others have links to changed, or who has them."""
        self.links = self.links.with_documents(documents)
        for document in documents:
            self._look_again(_key(document))

    def node_came(self) -> None:
        """A node is connected that was not: any route may lead there."""
        for key in [*self._waiting]:
            self._look_again(key)

    def came(self, instance_id: str) -> None:
        """An instance has a visitor more."""
        self.busy[instance_id] += 1

    def went(self, instance_id: str) -> None:
        """It has one fewer."""
        self.busy[instance_id] -= 1
        if not self.busy[instance_id]:
            del self.busy[instance_id]

    def lead(self, to: Destination, *, but: frozenset[str] = frozenset()) -> Led | Nowhere:
        """A stream to the least busy instance, as things are; to none of `but`, which were tried."""
        endpoint = choose(to, self._tunnels.reachable, self.busy, but)
        if isinstance(endpoint, Nowhere):
            return endpoint
        target = TunnelTarget(instance_id=endpoint.instance_id, container_port=endpoint.container_port)
        try:
            return Led(self._tunnels.open(endpoint.node_id, target), endpoint.instance_id)
        except Temporary as error:
            return Nowhere(error.detail, passing=True)

    async def lead_soon(self, route: RouteDocument, *, but: frozenset[str] = frozenset()) -> Led | Nowhere:
        """The same, with patience where an instance is about to be there."""
        return await self._soon(route.route_id, lambda: self._as_it_is_now(route), but)

    async def lead_over_link(
        self, call: LinkCall, node_id: str, *, but: frozenset[str] = frozenset()
    ) -> Led | Nowhere:
        """A stream to the least busy instance of a workload that the node has a link to, with the same patience."""
        return await self._soon(_key(call), lambda: self.links.find(call, node_id), but)

    async def _soon(self, key: str, look: Looks, but: frozenset[str]) -> Led | Nowhere:
        found = self._lead_if_any(look(), but)
        try:
            async with asyncio.timeout(self._patience_s):
                while isinstance(found, Nowhere) and found.passing:
                    await self._news_of(key)
                    found = self._lead_if_any(look(), but)
        except TimeoutError:
            pass
        return found

    def _lead_if_any(self, to: Destination | Nowhere, but: frozenset[str]) -> Led | Nowhere:
        return to if isinstance(to, Nowhere) else self.lead(to, but=but)

    def _as_it_is_now(self, route: RouteDocument) -> Destination | Nowhere:
        now = self.table.by_id.get(route.route_id, route)
        return Nowhere("it has just been closed") if now.released or now.taken_down else now

    async def _news_of(self, key: str) -> None:
        """Whoever waits leaves nothing behind: what they ask for may be nothing that there ever was."""
        news, waiting = asyncio.Event(), self._waiting.setdefault(key, set())
        waiting.add(news)
        try:
            await news.wait()
        finally:
            waiting.discard(news)
            if not waiting and self._waiting.get(key) is waiting:
                del self._waiting[key]

    def _look_again(self, key: str) -> None:
        for news in self._waiting.pop(key, ()):
            news.set()


def _key(of: LinkDocument | LinkCall) -> str:
    """Among those who wait; ids of routes hold no slash."""
    return f"{of.project}/{of.workload_name}"
