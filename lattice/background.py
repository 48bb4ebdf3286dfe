"""Loops that run beside the requests: relays, sweeps, heartbeats.  A loop that fails is logged and started again, ever more slowly; one for
which something is away (`Temporary`) is no fault of ours, and goes on soon after that is back.

    async with Background() as background:
        background.start("relay", relay.run)
        …

Leaving the block cancels the loops and waits until each has ended.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from types import TracebackType

from loguru import logger

from lattice.cancelling import cancel_and_wait
from lattice.clock import Clock, SystemClock
from lattice.errors import Temporary
from lattice.metrics import every_process as metrics

Loop = Callable[[], Awaitable[object]]

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
LONGEST_WAIT_FOR_OTHERS_S = 2.0
# A loop that ran this long was well: its next failure counts as the first.
HEALTHY_AFTER_S = 60.0


def pause_s(failures: int, chance: float, *, at_most_s: float = LONGEST_PAUSE_S) -> float:
    """How long to wait after the n-th failure in a row; `chance` in 0…1 spreads many processes that failed together."""
    longest = min(at_most_s, FIRST_PAUSE_S * 2.0 ** min(failures - 1, 16))
    return longest * (0.5 + chance / 2)


class Background:
    """Supervised loops; an async context manager."""

    def __init__(self, *, clock: Clock | None = None, chance: Callable[[], float] = random.random) -> None:
        self._clock = clock or SystemClock()
        self._chance = chance
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, name: str, loop: Loop) -> None:
        """Run `loop` until it returns; run it again whenever it raises.  `name` is for people and metrics."""
        task = asyncio.create_task(self._supervise(name, loop), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def __aenter__(self) -> Background:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await cancel_and_wait(tuple(self._tasks))

    async def _supervise(self, name: str, loop: Loop) -> None:
        failures = 0
        while True:
            began_s = self._clock.monotonic_s()
            try:
                await loop()
                return
            except Exception as error:
                lasted_s = self._clock.monotonic_s() - began_s
                failures = 1 if lasted_s > HEALTHY_AFTER_S else failures + 1
                wait_s = self._tell(name, error, failures)
            await asyncio.sleep(wait_s)

    def _tell(self, name: str, error: Exception, failures: int) -> float:
        """Log the failure; how long to wait now."""
        metrics.LOOP_FAILURES.labels(name).inc()
        if isinstance(error, Temporary):
            wait_s = pause_s(failures, self._chance(), at_most_s=LONGEST_WAIT_FOR_OTHERS_S)
            logger.warning("{} waits {:.1f} s: {}", name, wait_s, error.detail)
        else:
            wait_s = pause_s(failures, self._chance())
            logger.opt(exception=error).error(
                "{} failed (time {}) and starts again in {:.1f} s", name, failures, wait_s
            )
        return wait_s
