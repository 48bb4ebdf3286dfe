"""Virtual time: a loop that jumps to the next timer, a clock that reads it, and threads that are none.

Hours pass in seconds, and the same seed gives the same order of everything.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from lattice.cancelling import cancel_and_wait

T = TypeVar("T")
START = datetime(2030, 1, 1, tzinfo=UTC)


class _Selector(selectors.DefaultSelector):
    """Waits for nothing: `jump` is told what was to be waited."""

    def __init__(self, jump: Callable[[float], None]) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:  # only a thread could go on from here
            return super().select()
        ready = super().select(0)
        if not ready:
            self._jump(timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its time stands still while there is something to do, and then is that of the next timer.  Whole microseconds, so that sums are exact."""

    def __init__(self) -> None:
        self._now_us = 0
        super().__init__(_Selector(self._jump))

    def time(self) -> float:
        return self._now_us / 1_000_000

    def _jump(self, seconds: float) -> None:
        rounded = round(seconds * 1_000_000)
        # The rest of a microsecond is one more, or the timer would never be reached.
        self._now_us += rounded + 1 if 0 < seconds < 1e-6 else rounded


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
    loop = VirtualLoop()
    loop.set_default_executor(_AtOnce(1))
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(_to_the_end(main))
    finally:
        asyncio.set_event_loop(None)
        loop.close()
