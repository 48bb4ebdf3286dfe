"""Where visitors come in over TLS that is not ours to open: the name that they ask for says which route, and the rest is passed on unread.

The workload has its own certificate, and nobody on the way, the ingress included, can read what goes through.
"""

from __future__ import annotations

import asyncio

from lattice.errors import Invalid
from lattice.hand_over import hand_over
from lattice.tunnel_stream import break_off
from services.ingress.client_hello import LARGEST_BYTES, UNRECOGNIZED_NAME, server_name
from services.ingress.guests import Guests


class TlsFront:
    """Makes the protocols of one port for all routes of the protocol `tls`."""

    def __init__(self, guests: Guests, *, apps_domain: str, hello_timeout_s: float) -> None:
        self.guests, self.apps_domain, self.hello_timeout_s = guests, apps_domain, hello_timeout_s
        self.strangers: set[Stranger] = set()

    def stranger(self) -> asyncio.Protocol:
        """The protocol of a new connection."""
        return Stranger(self)

    def close(self) -> None:
        """End those who have not said yet whom they want."""
        for stranger in [*self.strangers]:
            break_off(stranger.transport)


class Stranger(asyncio.Protocol):
    """A connection until it has said whom it wants."""

    def __init__(self, front: TlsFront) -> None:
        self._front, self._said = front, b""
        self.transport: asyncio.Transport
        self._patience: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        loop = asyncio.get_running_loop()
        self._patience = loop.call_later(self._front.hello_timeout_s, break_off, self.transport)
        self._front.strangers.add(self)
        if len(self._front.strangers) + len(self._front.guests) > self._front.guests.max_connections:
            break_off(self.transport)

    def data_received(self, data: bytes) -> None:
        self._said += data
        try:
            name = server_name(self._said)
        except Invalid:
            break_off(self.transport)
            return
        if name is not None:
            self._go_on(name)
        elif len(self._said) > 2 * LARGEST_BYTES:
            break_off(self.transport)

    def _go_on(self, name: str) -> None:
        self._forget()
        route = self._front.guests.places.table.find_tls(name, self._front.apps_domain)
        if route is None:
            self.transport.write(UNRECOGNIZED_NAME)
            self.transport.close()
            return
        self.transport.pause_reading()
        hand_over(self.transport, self._front.guests.received(route), self._said)

    def connection_lost(self, error: Exception | None) -> None:
        self._forget()

    def _forget(self) -> None:
        self._patience.cancel()
        self._front.strangers.discard(self)
