"""What stands in front of a public name: where visitors come from, how often they ask, and what they know.

Credentials are known here only as argon2id hashes of the whole `Authorization` header.  Such a hash takes its time, so what was right once is
remembered by a keyed digest, and few are tried at once: guessing is slow for whoever guesses, and for nobody else.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Iterable
from ipaddress import IPv4Address, ip_address, ip_network

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error
from limits import parse

from lattice.contracts.messages import RouteDocument, RouteGuard
from services.ingress import pages
from services.ingress.pages import Page
from services.ingress.rates import Rate, Rates

_TRIED_AT_ONCE = 2
_MOST_REMEMBERED = 4096


class Guards:
    """Keeps what it learned of rates and of credentials, in memory: each ingress for itself."""

    def __init__(self) -> None:
        self._rates = Rates()
        self._key = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._tries = asyncio.Semaphore(_TRIED_AT_ONCE)
        self._hasher = PasswordHasher()

    async def why_not(
        self, route: RouteDocument, address: str, headers: Iterable[tuple[bytes, bytes]]
    ) -> Page | None:
        """The page for a visitor who may not come in; None for one who may."""
        guard = route.guard
        if guard is None:
            return None
        if guard.allow and not _is_in(address, guard.allow):
            return pages.not_from_there(route.workload_name)
        if guard.rate is not None and not self._may_ask(guard.rate, (route.route_id, _household(address))):
            return pages.too_often(guard.rate)
        length = next((value for name, value in headers if name == b"content-length"), b"0")
        if guard.max_body_bytes is not None and length.isdigit() and int(length) > guard.max_body_bytes:
            return pages.too_large(guard.max_body_bytes)
        if guard.credentials and not await self._knows(guard, headers):
            return pages.who_are_you(asks_people=guard.asks_people)
        return None

    def _may_ask(self, text: str, visitor: tuple[str, str]) -> bool:
        rate = parse(text)
        now_s = asyncio.get_running_loop().time()
        return self._rates.may_ask(visitor, Rate(rate.amount, rate.get_expiry()), now_s)

    async def _knows(self, guard: RouteGuard, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        said = [value for name, value in headers if name == b"authorization"]
        if len(said) != 1:
            return False
        if any(self._was_right(said[0], kept) for kept in guard.credentials):
            return True
        for kept in guard.credentials:
            if await self._fits(said[0], kept):
                return True
        return False

    def _was_right(self, said: bytes, kept: str) -> bool:
        digest = self._digest(said, kept)
        if digest not in self._right:
            return False
        self._right.move_to_end(digest)
        return True

    def _digest(self, said: bytes, kept: str) -> bytes:
        return hmac.digest(self._key, kept.encode() + b"\0" + said, hashlib.sha256)

    async def _fits(self, said: bytes, kept: str) -> bool:
        async with self._tries:
            fits = await asyncio.to_thread(self._verify, said, kept)
        if fits:
            self._right[self._digest(said, kept)] = None
            while len(self._right) > _MOST_REMEMBERED:
                self._right.popitem(last=False)
        return fits

    def _verify(self, said: bytes, kept: str) -> bool:
        try:
            return self._hasher.verify(kept, said)
        except Argon2Error:
            return False


def _household(address: str) -> str:
    """Whose rate an address counts for: one IPv6 subscriber has a whole /64 (RFC 6177)."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv4Address):
        return address
    return str(found.ipv4_mapped or ip_network((found, 64), strict=False))


def _is_in(address: str, networks: Iterable[str]) -> bool:
    try:
        found = ip_address(address)
    except ValueError:
        return False
    return any(found in ip_network(network) for network in networks)
