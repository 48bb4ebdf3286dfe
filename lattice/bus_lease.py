"""Leases: who leads, held by compare-and-swap on one subject per role, gone when they are not renewed.

The message's own time to live is the lease's.  Giving it up leaves an empty message, which anybody may replace at once; nobody needs the
right to purge.  The lease only chooses who asks; what fences an old leader is the term that Postgres gives.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

from lattice.bus_append import EXPECTED_LAST, WrongLast
from lattice.bus_read import last_by_subject
from lattice.bus_requests import Requests
from lattice.bus_wire import Wire
from lattice.clock import Clock
from lattice.contracts.streams import LEASE_BUCKET
from lattice.contracts.subjects import check_token
from lattice.errors import Temporary
from lattice.ids import new_id
from lattice.messaging import MSG_ID, Stored

TTL = "Nats-TTL"
RELEASED_TTL_S = 1.0

Append = Callable[[Wire], Awaitable[Stored]]


class NatsLease:
    """A role held by `holder` until `ttl_s` (whole seconds, rounded up) after the last renewal."""

    def __init__(
        self, requests: Requests, append: Append, clock: Clock, role: str, holder: str, ttl_s: float
    ) -> None:
        self._requests, self._append, self._clock = requests, append, clock
        self._subject = f"{LEASE_BUCKET.prefix}{check_token('role', role)}"
        self._holder, self._ttl_s = holder, ttl_s
        self._seq: int | None = None
        self._until_s = 0.0

    async def take(self) -> bool:
        """Try to hold it; False when somebody else does.  Raises Temporary."""
        if await self._swap(expected=0):
            return True
        found = await last_by_subject(self._requests, LEASE_BUCKET.stream, self._subject)
        if found is None or not found[0].payload:
            return await self._swap(expected=0 if found is None else found[1])
        return False

    async def renew(self) -> bool:
        """Hold it for another period; False when it is lost.  Raises Temporary while it may still be held."""
        if self._seq is None:
            return False
        try:
            return await self._swap(expected=self._seq)
        except Temporary:
            if self._clock.monotonic_s() < self._until_s:
                raise
            self._seq = None
            return False

    async def release(self) -> None:
        if self._seq is not None:
            expected, self._seq = self._seq, None
            await self._write(b"", expected, RELEASED_TTL_S)

    async def _swap(self, *, expected: int) -> bool:
        asked_s = self._clock.monotonic_s()
        self._seq = await self._write(self._holder.encode(), expected, self._ttl_s)
        self._until_s = asked_s + self._ttl_s
        return self._seq is not None

    async def _write(self, payload: bytes, expected: int, ttl_s: float) -> int | None:
        headers = {
            MSG_ID: new_id("ms"),
            EXPECTED_LAST: str(expected),
            TTL: f"{max(1, math.ceil(ttl_s))}s",
        }
        try:
            return (await self._append(Wire(self._subject, payload, headers))).seq
        except WrongLast:
            return None
