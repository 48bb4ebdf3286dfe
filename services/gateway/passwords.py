"""Passwords: argon2id in threads, a few at a time.

One hash takes 64 MiB and some 50 ms, so a burst of sign-ins could take all memory and all cores: two run, some wait, the rest are told
to come back.  An unknown user costs the same time as a wrong password.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from lattice.errors import TooManyRequests

_AT_ONCE = 2
_MAX_WAITING = 32


class Passwords:
    """Hashes and checks passwords without blocking the loop."""

    def __init__(self, *, memory_kib: int) -> None:
        self._hasher = PasswordHasher(memory_cost=memory_kib)
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._waiting = 0
        self._nobody: str | None = None

    async def hash(self, password: str) -> str:
        """The string to store."""
        async with self._place():
            return await asyncio.to_thread(self._hasher.hash, password)

    async def check(self, stored: str | None, password: str) -> bool:
        """Whether it is the password; with `stored` None (no such user) False after the same time."""
        async with self._place():
            return await asyncio.to_thread(self._check, stored, password)

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        if self._waiting >= _MAX_WAITING:
            raise TooManyRequests("Too many people sign in at once. Try again.", data={"retry_after_s": 2})
        self._waiting += 1
        try:
            async with self._turn:
                yield
        finally:
            self._waiting -= 1

    def _check(self, stored: str | None, password: str) -> bool:
        if self._nobody is None:
            self._nobody = self._hasher.hash("nobody has this password")
        try:
            return self._hasher.verify(stored or self._nobody, password) and stored is not None
        except (VerificationError, InvalidHashError):
            return False
