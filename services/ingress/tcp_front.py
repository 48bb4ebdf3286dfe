"""Where visitors come in over TCP: a port for each route, every connection spliced to a stream as it is.

What goes through is not looked at; it is encrypted end to end where the instance serves TLS.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter

from loguru import logger

from lattice.contracts.messages import RouteDocument, TunnelTarget
from lattice.errors import Temporary
from lattice.tunnel_stream import LocalSide, TunnelStream, break_off
from services.ingress import metrics
from services.ingress.routing import Nowhere, RouteTable, choose
from services.ingress.tunnels import Tunnels

_TRY_AGAIN_S = 2.0
# A laptop that vanished with a connection open is noticed within three minutes: an idle session of a database has no end of its own.
_KEEPALIVE = {socket.TCP_KEEPIDLE: 120, socket.TCP_KEEPINTVL: 15, socket.TCP_KEEPCNT: 4}


class TcpFront:
    """Listens on the ports of the table's routes, and on no other."""

    def __init__(self, tunnels: Tunnels, host: str, *, max_connections: int) -> None:
        self._tunnels, self._host, self._max_connections = tunnels, host, max_connections
        self._table = RouteTable()
        self._servers: dict[int, asyncio.Server] = {}
        self._news = asyncio.Event()
        self.busy: Counter[str] = Counter()
        self._guests: set[_Guest] = set()

    @property
    def ports(self) -> frozenset[int]:
        """Those that are listened on."""
        return frozenset(self._servers)

    def take(self, table: RouteTable) -> None:
        """Routes came or went."""
        self._table = table
        self._news.set()
        for guest in [*self._guests]:
            if (route := table.by_id.get(guest.route_id)) is not None and route.taken_down:
                break_off(guest.transport)

    async def run(self) -> None:
        """Open and close ports for ever; one that somebody else has is tried again."""
        while True:
            self._news.clear()
            missing = await self._follow()
            try:
                async with asyncio.timeout(_TRY_AGAIN_S if missing else None):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def close(self, timeout_s: float) -> None:
        """Take nobody more; end what is left after the time."""
        for server in self._servers.values():
            server.close()
        until_s = asyncio.get_running_loop().time() + timeout_s
        while self._guests and asyncio.get_running_loop().time() < until_s:
            await asyncio.sleep(0.05)
        for guest in [*self._guests]:
            break_off(guest.transport)

    async def _follow(self) -> bool:
        """Whether a port is still missing."""
        wanted = self._table.by_port
        for port in self._servers.keys() - wanted.keys():
            self._servers.pop(port).close()
        for port in wanted.keys() - self._servers.keys():
            try:
                self._servers[port] = await self._listen(port)
            except OSError as error:
                logger.warning("port {} of {} cannot be opened: {}", port, wanted[port].workload_name, error)
        return self._servers.keys() != wanted.keys()

    async def _listen(self, port: int) -> asyncio.Server:
        return await asyncio.get_running_loop().create_server(lambda: self._guest(port), self._host, port)

    def _guest(self, port: int) -> asyncio.Protocol:
        """The protocol of a new connection."""
        route = self._table.by_port.get(port)
        if route is None or route.taken_down or len(self._guests) >= self._max_connections:
            return _Unwanted()
        found = self._stream(route)
        return _Unwanted() if found is None else _Guest(self, route.route_id, *found)

    def _stream(self, route: RouteDocument) -> tuple[TunnelStream, str] | None:
        endpoint = choose(route, self._tunnels.reachable, self.busy)
        if isinstance(endpoint, Nowhere):
            return None
        target = TunnelTarget(instance_id=endpoint.instance_id, container_port=endpoint.container_port)
        try:
            return self._tunnels.open(endpoint.node_id, target), endpoint.instance_id
        except Temporary:
            return None

    def arrived(self, guest: _Guest) -> None:
        """A connection stands."""
        self._guests.add(guest)
        self.busy[guest.instance_id] += 1
        metrics.TCP_VISITORS.set(len(self._guests))

    def left(self, guest: _Guest) -> None:
        """It is over."""
        self._guests.discard(guest)
        self.busy[guest.instance_id] -= 1
        metrics.TCP_VISITORS.set(len(self._guests))


class _Guest(LocalSide):
    """A visitor's connection, spliced to a stream."""

    def __init__(self, front: TcpFront, route_id: str, stream: TunnelStream, instance_id: str) -> None:
        super().__init__(stream)
        self._front, self.route_id, self.instance_id = front, route_id, instance_id
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._front.arrived(self)
        _keep_alive(transport)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._front.left(self)
        super().connection_lost(error)


class _Unwanted(asyncio.Protocol):
    """A connection that leads nowhere now; TCP has no words for why."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        break_off(transport)  # type: ignore[arg-type]


def _keep_alive(transport: asyncio.BaseTransport) -> None:
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE.items():
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
