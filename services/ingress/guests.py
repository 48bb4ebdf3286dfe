"""Visitors whose bytes are passed on unread: each is spliced to a stream that leads to an instance.

Those over TCP are known by the port that they came to, those over TLS by the name that they ask for.
"""

from __future__ import annotations

import asyncio
import socket

from lattice.contracts.messages import RouteDocument
from lattice.hand_over import Undecided
from lattice.tunnel_stream import LocalSide, break_off
from services.ingress import metrics
from services.ingress.places import Led, Places
from services.ingress.routing import Nowhere
from services.ingress.sweep import Sweep

# A laptop that vanished with a connection open is noticed within three minutes, and not after the hour for which a session may be idle.
_KEEPALIVE = {socket.TCP_KEEPIDLE: 120, socket.TCP_KEEPINTVL: 15, socket.TCP_KEEPCNT: 4}


class Guests:
    """Those who are here now."""

    def __init__(self, places: Places, sweep: Sweep, *, max_connections: int) -> None:
        self.places, self.sweep, self.max_connections = places, sweep, max_connections
        self._here: set[Guest | Waiting] = set()

    def __len__(self) -> int:
        return len(self._here)

    @property
    def is_full(self) -> bool:
        """Whether nobody more is taken."""
        return len(self._here) >= self.max_connections

    def received(self, route: RouteDocument) -> asyncio.Protocol:
        """The protocol of a new connection to a route."""
        if route.taken_down or self.is_full:
            return Unwanted()
        led = self.places.lead(route)
        if isinstance(led, Led):
            return Guest(self, route.route_id, led)
        return Waiting(self, route) if led.passing else Unwanted()

    def end_those_of_closed_routes(self) -> None:
        """Break off whoever came by a route that was taken down."""
        routes = self.places.table.by_id
        for guest in [*self._here]:
            if (route := routes.get(guest.route_id)) is not None and route.taken_down:
                break_off(guest.transport)

    async def close(self, timeout_s: float) -> None:
        """Wait until they have gone; end those who are left after the time."""
        until_s = asyncio.get_running_loop().time() + timeout_s
        while self._here and asyncio.get_running_loop().time() < until_s:
            await asyncio.sleep(0.05)
        for guest in [*self._here]:
            break_off(guest.transport)

    def arrived(self, guest: Guest | Waiting) -> None:
        """A connection stands."""
        self._here.add(guest)
        metrics.TCP_VISITORS.set(len(self._here))

    def left(self, guest: Guest | Waiting) -> None:
        """It is over, or goes on as another."""
        self._here.discard(guest)
        metrics.TCP_VISITORS.set(len(self._here))


class Guest(LocalSide):
    """A visitor's connection, spliced to a stream."""

    def __init__(self, guests: Guests, route_id: str, led: Led) -> None:
        super().__init__(led.stream)
        self._guests, self.route_id, self._instance_id = guests, route_id, led.instance_id
        self.transport: asyncio.Transport

    @property
    def moves(self) -> int:
        """How often something has moved, in either direction."""
        return self.stream.moves

    def reset(self, reason: str) -> None:
        """Break off the connection and its stream; either may be over already."""
        self.stream.reset(reason)
        break_off(self.transport)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._guests.arrived(self)
        self._guests.places.came(self._instance_id)
        self._guests.sweep.begin(self)
        _keep_alive(transport)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._guests.left(self)
        self._guests.places.went(self._instance_id)
        self._guests.sweep.end(self)
        super().connection_lost(error)


class Waiting(Undecided):
    """A visitor for whom there is no place yet, until they go on as a guest."""

    def __init__(self, guests: Guests, route: RouteDocument) -> None:
        super().__init__()
        self._guests, self._route, self.route_id = guests, route, route.route_id
        self._task: asyncio.Task[None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._guests.arrived(self)
        self._task = asyncio.get_running_loop().create_task(self._wait())

    async def _wait(self) -> None:
        led = await self._guests.places.lead_soon(self._route)
        if isinstance(led, Nowhere):
            break_off(self.transport)
            return
        self._guests.left(self)
        self.go_on(Guest(self._guests, self.route_id, led))

    def connection_lost(self, error: Exception | None) -> None:
        self._task.cancel()
        self._guests.left(self)


class Unwanted(asyncio.Protocol):
    """A connection that leads nowhere now; TCP has no words for why."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        break_off(transport)  # type: ignore[arg-type]


def _keep_alive(transport: asyncio.BaseTransport) -> None:
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE.items():
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
