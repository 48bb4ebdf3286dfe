"""Ending tasks for certain.

One `cancel()` is a request that can be lost: in Python 3.11 `asyncio.wait_for` swallows it when what it waits for is done at the same
moment, and libraries that tidy up behind `suppress(CancelledError)` do so, too.  A loop that lost it goes on for ever, and whoever waits for
its end waits as long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

ASK_AGAIN_S = 0.5


async def cancel_and_wait(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks, again and again, until each has ended; what they raise is dropped."""
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        ended, left = await asyncio.wait(left, timeout=ASK_AGAIN_S)
        for task in ended:
            if not task.cancelled():
                task.exception()  # looked at, so that nobody is told of an error that nobody waits for


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Do something that must not stay half done: whoever is cancelled meanwhile ends after it, and not before."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({task})
        if not task.cancelled():
            task.exception()
        raise


async def first_of(*work: Coroutine[Any, Any, None]) -> None:
    """Run all until one ends, then end the others; raises what that one raised."""
    tasks = [asyncio.ensure_future(item) for item in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await cancel_and_wait(tasks)
