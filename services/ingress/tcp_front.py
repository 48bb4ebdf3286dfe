"""Where visitors come in over TCP: a port for each route.

What goes through is not looked at; it is encrypted end to end where the instance serves TLS.
"""

from __future__ import annotations

import asyncio

from loguru import logger

from services.ingress.guests import Guests, Unwanted
from services.ingress.settings import LISTEN_BACKLOG

_TRY_AGAIN_S = 2.0


class TcpFront:
    """Listens on the ports of the routes, and on no other."""

    def __init__(self, guests: Guests, host: str) -> None:
        self._guests, self._host = guests, host
        self._servers: dict[int, asyncio.Server] = {}
        self._news = asyncio.Event()

    @property
    def ports(self) -> frozenset[int]:
        """Those that are listened on."""
        return frozenset(self._servers)

    def follow_routes(self) -> None:
        """Routes came or went."""
        self._news.set()

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

    def close(self) -> None:
        """Take nobody more."""
        for server in self._servers.values():
            server.close()

    async def _follow(self) -> bool:
        """Whether a port is still missing."""
        table = self._guests.places.table
        wanted = table.by_port
        for port in self._servers.keys() - wanted.keys():
            self._servers.pop(port).close()
        for port in wanted.keys() - self._servers.keys():
            try:
                self._servers[port] = await self._listen(port)
            except OSError as error:
                name = table.by_id[wanted[port]].workload_name
                logger.warning("port {} of {} cannot be opened: {}", port, name, error)
        return self._servers.keys() != wanted.keys()

    async def _listen(self, port: int) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        return await loop.create_server(lambda: self._guest(port), self._host, port, backlog=LISTEN_BACKLOG)

    def _guest(self, port: int) -> asyncio.Protocol:
        """The protocol of a new connection."""
        route = self._guests.places.table.at_port(port)
        return Unwanted() if route is None else self._guests.received(route)
