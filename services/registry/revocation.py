"""Whose membership was taken away stays out: the servers' list of revoked keys follows Postgres, and links are cut.

Two barriers.  The account, pushed to the servers with each change of the list, makes them cut and refuse a revoked key by themselves.  And
every connection of a node is looked at as it comes: a server that was down during a revocation knows the older account for up to ten
seconds after its return, and a connection that it lets in is cut here.

The list is level-triggered: it is compared every two seconds and pushed where it differs, so a crash between the decision and the push
only delays it.  It is bounded: an entry older than the longest life of a ticket revokes nothing any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Protocol

from loguru import logger

from lattice import identity
from lattice.bus_system import Connection
from lattice.contracts.nouns import Membership
from lattice.contracts.permissions import node_permissions
from lattice.errors import LatticeError, Temporary
from lattice.storage import Gt, Not, Store, Transaction
from services.registry.sre_credentials import revoked_keys
from services.registry.tables import NodeRow, SreCredentialRow

LOOK_EVERY_S = 2.0
# Tickets issued before their life was shortened in the settings are still about.
LONGEST_TICKET = timedelta(hours=24)
SKEW = timedelta(minutes=5)
_LOCK = "revocations"


class Doors(Protocol):
    """What `lattice.bus_system.SystemBus` can do about connections."""

    async def push_account(self, jwt: str) -> None: ...
    async def connections(self, user_key: str) -> list[Connection]: ...
    async def kick(self, connection: Connection) -> None: ...


def revocations_of(nodes: list[NodeRow], *, now: datetime, lifetime: timedelta) -> dict[str, datetime]:
    """Public key -> the moment up to which its tickets count no more; only where one may still be about."""
    decided: dict[str, datetime] = {}
    for node in nodes:
        if node.membership == Membership.REVOKED and node.decided_at is not None:
            decided[node.nkey] = max(node.decided_at, decided.get(node.nkey, node.decided_at))
    return identity.live_revocations(decided, now=now, lifetime=lifetime)


class Doorkeeper:
    """Keeps the list of revoked keys at the servers as it is in Postgres, and cuts whom they let in wrongly."""

    def __init__(
        self,
        store: Store,
        doors: Doors,
        tickets: identity.NatsAuthority,
        *,
        now: Callable[[], datetime],
        ticket_life: timedelta,
    ) -> None:
        self._store, self._doors, self._tickets, self._now = store, doors, tickets, now
        self._lifetime = max(ticket_life, LONGEST_TICKET) + SKEW
        self._issued_at = tickets.created_at
        self._pushed: dict[str, datetime] | None = None

    async def run(self) -> None:
        """Compare for ever."""
        while True:
            await self.cut_links()
            await asyncio.sleep(LOOK_EVERY_S)

    async def cut_links(self) -> None:
        """Bring the servers up to date now.  Never raises: what fails is tried again by `run`."""
        await self._logged(self._follow())

    async def link_is_new(self) -> None:
        """Call after each connect of the system account: a server may have come back with an older list."""
        self._pushed = None
        await self.cut_links()

    async def look_at(self, connection: Connection) -> None:
        """Call with each connection that comes: a node's is cut unless the node is a member."""
        if connection.issuer_key == self._tickets.node_signing.public:
            await self._logged(self._admit(connection))

    async def _follow(self) -> None:
        if await self._read() == self._pushed:
            return
        async with self._store.transaction() as tx:
            # One push at a time, of all replicas: otherwise a shorter list could overtake a longer one.
            await tx.lock(_LOCK)
            revoked = await self._revoked(tx)
            await self._push(revoked)
        added = revoked.keys() - (self._pushed or {}).keys()
        self._pushed = revoked
        for user_key in sorted(added):
            for connection in await self._doors.connections(user_key):
                await self._admit(connection)

    async def _read(self) -> dict[str, datetime]:
        async with self._store.transaction() as tx:
            return await self._revoked(tx)

    async def _revoked(self, tx: Transaction) -> dict[str, datetime]:
        now = self._now()
        since = Gt(now - self._lifetime)
        rows = await tx.find(NodeRow, membership=Membership.REVOKED.value, decided_at=since)
        people = await tx.find(SreCredentialRow, revoked_at=Not(None), expires_at=Gt(now))
        return revocations_of(rows, now=now, lifetime=self._lifetime) | revoked_keys(people, now)

    async def _push(self, revoked: dict[str, datetime]) -> None:
        issued_at = identity.next_issue(self._now(), previous=self._issued_at)
        await self._doors.push_account(
            identity.account_jwt(
                self._tickets, node_permissions=node_permissions(), revocations=revoked, issued_at=issued_at
            )
        )
        self._issued_at = issued_at

    async def _admit(self, connection: Connection) -> None:
        if not await self._is_member(connection.user_key):
            logger.warning("cut a connection of {}: it belongs to no member", connection.user_key)
            await self._doors.kick(connection)

    async def _is_member(self, user_key: str) -> bool:
        """While the database is away the newest list decides: being unable to look is no reason to cut a member."""
        try:
            async with self._store.transaction() as tx:
                approved = Membership.APPROVED.value
                return await tx.count(NodeRow, nkey=user_key, membership=approved, removed_at=None) > 0
        except Temporary:
            return user_key not in (self._pushed or {})

    @staticmethod
    async def _logged(work: Awaitable[None]) -> None:
        try:
            await work
        except LatticeError as error:
            logger.warning("revocations are not with all servers yet: {}", error)
