"""Virtual time: a loop that jumps to the next timer, a clock that reads it, and threads that are none.

Hours pass in seconds, and the same seed gives the same order of everything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import looptime

from lattice.cancelling import cancel_and_wait

T = TypeVar("T")
START = datetime(2030, 1, 1, tzinfo=UTC)


class LoopClock:
    """A `Clock` that tells the running loop's time."""

    def now(self) -> datetime:
        return START + timedelta(seconds=asyncio.get_running_loop().time())

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()


class _AtOnce(ThreadPoolExecutor):
    """Does what is submitted there and then: a thread would finish at a moment that no seed decides."""

    def submit(self, work: Callable[..., T], /, *arguments: Any, **named: Any) -> Future[T]:
        done: Future[T] = Future()
        try:
            done.set_result(work(*arguments, **named))
        except BaseException as error:
            done.set_exception(error)
        return done


async def _to_the_end(main: Coroutine[Any, Any, T]) -> T:
    """What still waits for an answer that cannot come is ended with the world."""
    try:
        return await main
    finally:
        await cancel_and_wait(asyncio.all_tasks() - {asyncio.current_task()})


def run_in_virtual_time(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end; nothing waits for real."""
    loop = looptime.new_event_loop(start=0, noop_cycles=0)
    loop.set_default_executor(_AtOnce(1))
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(_to_the_end(main))
    finally:
        asyncio.set_event_loop(None)
        loop.close()
