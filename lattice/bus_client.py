"""One connection of nats-py: made, checked, waited for, thrown away.  What it cannot be trusted with is said where it is worked around."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

import nats.errors
from nats.aio.client import Client

from lattice import pki_files
from lattice.cancelling import cancel_and_wait
from lattice.settings import BusSettings

CONNECT_TIMEOUT_S = 10
# A peer that hangs is noticed after three of these; nats-py's 120 s would take minutes.
PING_INTERVAL_S = 3
PENDING_BYTES = 8 * 2**20
_LOOK_S = 1.0
_NOTICE_S = 0.1
_REACH_S = 2
_CLOSE_S = 2

OnError = Callable[[Exception], Awaitable[None]]


class Connection:
    """A client that does not reconnect; `closed` is set when it ended, `last_error` is the newest thing it complained about."""

    def __init__(self, on_error: OnError) -> None:
        self.client = Client()
        self.last_error: Exception | None = None
        self._closed = asyncio.Event()
        self._renewed: Callable[[], bool] = lambda: False
        self._on_error = on_error

    async def open(self, settings: BusSettings, *, identity: str, inbox: str) -> None:
        """Connect to one of the servers, with files read now.  Raises whatever went wrong."""
        before = _written(settings)
        self._renewed = lambda: _written(settings) != before
        tls = pki_files.client_context(
            settings.ca_file, certificate_file=settings.cert_file, key_file=settings.key_file
        )
        connecting = self.client.connect(
            random.choice(settings.urls),
            name=identity,
            inbox_prefix=inbox,
            tls=tls,
            tls_hostname=settings.server_name,
            tls_handshake_first=True,
            user_credentials=str(settings.creds_file),
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=CONNECT_TIMEOUT_S,
            ping_interval=PING_INTERVAL_S,
            max_outstanding_pings=2,
            pending_size=PENDING_BYTES,
            error_cb=self._note_error,
            closed_cb=self._note_closed,
        )
        try:
            await asyncio.wait_for(connecting, CONNECT_TIMEOUT_S)
        except nats.errors.NoServersError as error:
            raise self.last_error or error from error  # "no servers available" hides why
        # Only an answered ping proves that the login is over: connect() may return before it is, and stay "connecting" for ever.
        await answered(self.client, CONNECT_TIMEOUT_S)
        if not self.client.is_connected:
            raise self.client.last_error or nats.errors.ConnectionClosedError()

    async def ended(self) -> str:
        """Wait until it ends, or should because there are other credentials; why, as far as is known."""
        while not self._is_over:
            if self._renewed():
                return "its credentials were renewed"
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), _LOOK_S)
        return str(self.client.last_error or "the server closed the connection")

    @property
    def _is_over(self) -> bool:
        return self._closed.is_set() or self.client.is_closed  # the callback does not come on every path

    async def _note_error(self, error: Exception) -> None:
        self.last_error = error
        await self._on_error(error)

    async def _note_closed(self) -> None:
        self._closed.set()


def _written(settings: BusSettings) -> list[int]:
    """When each file of the credentials was written: whoever renews them need not know who uses them."""
    files = (settings.ca_file, settings.cert_file, settings.key_file, settings.creds_file)
    return [path.stat().st_mtime_ns if path.exists() else 0 for path in files]


async def answered(client: Client, within_s: int) -> None:
    """Until the server has answered a ping.  Raises `ConnectionClosedError` once the connection is over: nats-py's `flush` would go on
    waiting for an answer that cannot come any more."""
    pinging = asyncio.ensure_future(client.flush(within_s))
    try:
        while not pinging.done():
            if client.is_closed:
                raise nats.errors.ConnectionClosedError
            await asyncio.wait({pinging}, timeout=_NOTICE_S)
    finally:
        await cancel_and_wait({pinging})
    pinging.result()


async def reached(client: Client) -> None:
    """Until the server has seen everything sent so far.  A ping alone does not say so: it overtakes what still waits to be written."""
    while client.pending_data_size and client.is_connected:
        await asyncio.sleep(0)
    await answered(client, _REACH_S)


async def throw_away(client: Client) -> None:
    """Send what still waits, and close."""
    if client.is_connected:
        with suppress(nats.errors.Error, OSError, TimeoutError):
            await reached(client)
    with suppress(Exception):  # it cannot fail in a way that matters any more
        await asyncio.wait_for(client.close(), _CLOSE_S)


def is_refusal(problem: str) -> bool:
    """Whether the server does not know us (any more), as opposed to not being there."""
    text = problem.lower()
    return any(word in text for word in ("authorization violation", "authentication", "revoked", "expired"))
