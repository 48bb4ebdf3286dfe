"""Limits on what nobody needs to be signed in for: guessing passwords, join tokens and the set-up secret.

Failed sign-ins are counted per address and name, so a stranger cannot lock somebody out from elsewhere; and all attempts per address.
The counters live in this process: a replica more means a few guesses more, and a restart forgets.
"""

from __future__ import annotations

import math
import time

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter

from lattice.errors import TooManyRequests

FAILURES_PER_NAME = RateLimitItemPerMinute(10, 5)
SIGN_INS_PER_ADDRESS = RateLimitItemPerMinute(120, 5)
SET_UPS_PER_ADDRESS = RateLimitItemPerMinute(10, 5)
# A whole rack may join through one router; each agent asks every few seconds until it is approved.
REGISTRATIONS_PER_ADDRESS = RateLimitItemPerMinute(300, 1)


class Throttle:
    """Counts attempts in moving windows."""

    def __init__(self) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    async def count(self, limit: RateLimitItem, *who: str) -> None:
        """Count an attempt; TooManyRequests, with the time to wait, when there were too many."""
        if not await self._limiter.hit(limit, *who):
            raise await self._too_many(limit, who)

    async def forgive(self, limit: RateLimitItem, *who: str) -> None:
        """Start counting anew: the last attempt succeeded."""
        await self._limiter.clear(limit, *who)

    async def _too_many(self, limit: RateLimitItem, who: tuple[str, ...]) -> TooManyRequests:
        window = await self._limiter.get_window_stats(limit, *who)
        # The library counts in the machine's time of day, so we ask the same clock.
        wait_s = max(1, math.ceil(window.reset_time - time.time()))
        return TooManyRequests(f"Too many attempts. Wait {wait_s} s.", data={"retry_after_s": wait_s})
