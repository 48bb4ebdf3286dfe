"""Waiting for what comes next on a stream that may end at any moment."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def next_of(queue: asyncio.Queue[T | None], ended: asyncio.Event, timeout_s: float) -> T | None:
    """What comes next, or None when the stream ends or nothing came for so long."""
    if not queue.empty():
        return queue.get_nowait()
    getting, ending = asyncio.ensure_future(queue.get()), asyncio.ensure_future(ended.wait())
    try:
        await asyncio.wait({getting, ending}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        return getting.result() if getting.done() else None
    finally:
        getting.cancel()
        ending.cancel()


async def pause(ended: asyncio.Event, timeout_s: float) -> None:
    """Wait so long, or until the stream ends."""
    with suppress(TimeoutError):
        await asyncio.wait_for(ended.wait(), timeout_s)
