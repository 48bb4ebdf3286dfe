"""Where visitors come in over TCP: a port for each route, every connection spliced to a stream as it is.

What goes through is not looked at; it is encrypted end to end where the instance serves TLS.
"""

from __future__ import annotations

import asyncio
import socket

from loguru import logger

from lattice.contracts.messages import RouteDocument
from lattice.tunnel_stream import LocalSide, break_off
from services.ingress import metrics
from services.ingress.places import Led, Places
from services.ingress.routing import Nowhere

_TRY_AGAIN_S = 2.0
# A laptop that vanished with a connection open is noticed within three minutes: an idle session of a database has no end of its own.
_KEEPALIVE = {socket.TCP_KEEPIDLE: 120, socket.TCP_KEEPINTVL: 15, socket.TCP_KEEPCNT: 4}


class TcpFront:
    """Listens on the ports of the routes, and on no other."""

    def __init__(self, places: Places, host: str, *, max_connections: int) -> None:
        self.places, self._host, self._max_connections = places, host, max_connections
        self._servers: dict[int, asyncio.Server] = {}
        self._news = asyncio.Event()
        self._guests: set[_Guest | _Waiting] = set()

    @property
    def ports(self) -> frozenset[int]:
        """Those that are listened on."""
        return frozenset(self._servers)

    def follow_routes(self) -> None:
        """Routes came or went."""
        self._news.set()
        routes = self.places.table.by_id
        for guest in [*self._guests]:
            if (route := routes.get(guest.route_id)) is not None and route.taken_down:
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
        wanted = self.places.table.by_port
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
        route = self.places.table.by_port.get(port)
        if route is None or route.taken_down or len(self._guests) >= self._max_connections:
            return _Unwanted()
        led = self.places.lead(route)
        if isinstance(led, Led):
            return _Guest(self, route.route_id, led)
        return _Waiting(self, route) if led.passing else _Unwanted()

    def arrived(self, guest: _Guest | _Waiting) -> None:
        """A connection stands."""
        self._guests.add(guest)
        metrics.TCP_VISITORS.set(len(self._guests))

    def left(self, guest: _Guest | _Waiting) -> None:
        """It is over, or goes on as another."""
        self._guests.discard(guest)
        metrics.TCP_VISITORS.set(len(self._guests))


class _Guest(LocalSide):
    """A visitor's connection, spliced to a stream."""

    def __init__(self, front: TcpFront, route_id: str, led: Led) -> None:
        super().__init__(led.stream)
        self._front, self.route_id, self._instance_id = front, route_id, led.instance_id
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._front.arrived(self)
        self._front.places.busy[self._instance_id] += 1
        _keep_alive(transport)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._front.left(self)
        self._front.places.busy[self._instance_id] -= 1
        super().connection_lost(error)


class _Waiting(asyncio.Protocol):
    """A visitor for whom there is no place yet: their first words are kept, and no more are read until they go on as a guest."""

    def __init__(self, front: TcpFront, route: RouteDocument) -> None:
        self._front, self._route, self.route_id = front, route, route.route_id
        self._first_words, self._has_ended = b"", False
        self.transport: asyncio.Transport
        self._task: asyncio.Task[None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self._front.arrived(self)
        self._task = asyncio.get_running_loop().create_task(self._go_on())

    def data_received(self, data: bytes) -> None:
        self._first_words += data
        self.transport.pause_reading()

    def eof_received(self) -> bool:
        self._has_ended = True
        return True  # as a guest they may still be answered

    async def _go_on(self) -> None:
        led = await self._front.places.lead_soon(self._route)
        if isinstance(led, Nowhere):
            break_off(self.transport)
            return
        self._front.left(self)
        guest = _Guest(self._front, self.route_id, led)
        self.transport.set_protocol(guest)
        guest.connection_made(self.transport)
        self.transport.resume_reading()
        if self._first_words:
            guest.data_received(self._first_words)
        if self._has_ended:
            guest.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        self._task.cancel()
        self._front.left(self)


class _Unwanted(asyncio.Protocol):
    """A connection that leads nowhere now; TCP has no words for why."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        break_off(transport)  # type: ignore[arg-type]


def _keep_alive(transport: asyncio.BaseTransport) -> None:
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE.items():
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
