"""The system account of the bus: who may speak at all.

Through it the registry hands the servers a new account (with its list of revoked keys), sees connections come, and cuts them.  It is a link
of its own with its own ticket, because the platform's account cannot do any of this.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import nats.errors
from loguru import logger
from nats.aio.msg import Msg

from lattice.bus_link import Link
from lattice.errors import LatticeError, Temporary
from lattice.settings import BusSettings

ANSWER_S = 3.0
# Every server answers when asked who is connected; the last of them is given this long.
GATHER_S = 0.5
_MOST = 1024

_PUSH = "$SYS.REQ.CLAIMS.UPDATE"
_WHO = "$SYS.REQ.SERVER.PING.CONNZ"
_VITALS = "$SYS.REQ.SERVER.PING.VARZ"
_STREAMS = "$SYS.REQ.SERVER.PING.JSZ"


@dataclass(frozen=True, slots=True)
class Connection:
    """A client's connection to one server: its user key, and the key that signed its ticket (where the server says it)."""

    server_id: str
    client_id: int
    user_key: str
    issuer_key: str = ""


class SystemBus:
    """Push accounts, watch connections, cut them.  `account` is the public key of the account that is watched."""

    def __init__(self, link: Link, account: str) -> None:
        self._link, self._account = link, account

    @property
    def connected(self) -> bool:
        return self._link.connected

    def on_connected(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Call back after each (re)connect."""
        self._link.on_up.append(callback)

    async def push_account(self, jwt: str) -> None:
        """Give the servers an account; what it revokes is cut by them at once.  Raises Temporary without a link or an answer,
        LatticeError if they refuse it."""
        answer = await self._ask(_PUSH, jwt.encode())
        if answer.get("error"):
            raise LatticeError(f"The bus refuses the account: {answer['error'].get('description', answer)}.")

    async def connections(self, user_key: str) -> list[Connection]:
        """The connections of a user now, on all servers.  Raises Temporary."""
        query = {"acc": self._account, "user": user_key, "auth": True, "limit": _MOST}
        answers = await self._gather(_WHO, json.dumps(query).encode())
        return [
            Connection(answer["server"]["id"], client["cid"], user_key)
            for answer in answers
            for client in answer.get("data", {}).get("connections") or ()
        ]

    async def vitals(self) -> list[dict[str, Any]]:
        """How each server fares, in NATS's own words (its `varz`).  Raises Temporary."""
        return [answer.get("data") or {} for answer in await self._gather(_VITALS, b"{}")]

    async def streams(self) -> list[dict[str, Any]]:
        """The streams of each server with their consumers (its `jsz`), those of all accounts.  Raises Temporary."""
        query = {"accounts": True, "streams": True, "consumer": True}
        return [
            answer.get("data") or {} for answer in await self._gather(_STREAMS, json.dumps(query).encode())
        ]

    async def kick(self, connection: Connection) -> None:
        """Cut a connection; one that has ended already is no error.  Raises Temporary."""
        body = json.dumps({"cid": connection.client_id}).encode()
        await self._ask(f"$SYS.REQ.SERVER.{connection.server_id}.KICK", body)

    async def watch(self, seen: Callable[[Connection], Awaitable[None]]) -> None:
        """From now on, tell of each connection to the account as it comes; events while the link is down are missed."""

        async def deliver(message: Msg) -> None:
            connection = read_connect(message.data)
            if connection is not None:
                self._link.spawn(lambda: seen(connection))

        await self._link.subscribe(f"$SYS.ACCOUNT.{self._account}.CONNECT", deliver)

    async def _ask(self, subject: str, body: bytes) -> dict[str, Any]:
        try:
            message = await self._link.client.request(subject, body, timeout=ANSWER_S)
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise Temporary(f"The bus did not answer its system account ({error}): try again.") from error
        return _object(message.data)

    async def _gather(self, subject: str, body: bytes) -> list[dict[str, Any]]:
        client = self._link.client
        inbox, answers = client.new_inbox(), list[dict[str, Any]]()

        async def take(message: Msg) -> None:
            answers.append(_object(message.data))

        try:
            subscription = await client.subscribe(inbox, cb=take)
            await client.publish(subject, body, reply=inbox)
            await asyncio.sleep(GATHER_S)
            await subscription.unsubscribe()
        except (nats.errors.Error, OSError) as error:
            raise Temporary(f"The link of the system account broke ({error}): try again.") from error
        return answers


def read_connect(data: bytes) -> Connection | None:
    """The connection that a server's CONNECT event tells of, or None if it cannot be read."""
    event = _object(data)
    try:
        client = event["client"]
        return Connection(
            server_id=event["server"]["id"],
            client_id=client["id"],
            user_key=client.get("user", ""),
            issuer_key=client.get("issuer_key", ""),
        )
    except (KeyError, TypeError) as error:
        logger.warning("a CONNECT event of the bus cannot be read: {!r}", error)
        return None


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data or b"{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


@asynccontextmanager
async def open_system_bus(settings: BusSettings, *, account: str) -> AsyncIterator[SystemBus]:
    """The system account's link, for ever reconnecting; `settings.creds_file` holds its ticket."""
    link = Link(settings, identity="system", inbox="_INBOX_system")
    link.start()
    try:
        yield SystemBus(link, account)
    finally:
        await link.close()
