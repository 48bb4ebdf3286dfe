"""Tasks end even if a cancellation is lost on the way."""

from __future__ import annotations

import asyncio

import pytest

from lattice import cancelling
from lattice.cancelling import cancel_and_wait


async def _loses(cancellations: int) -> None:
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if cancellations == 0:
                raise
            cancellations -= 1


async def test_a_task_that_loses_a_cancellation_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancelling, "ASK_AGAIN_S", 0.01)
    tasks = [asyncio.create_task(_loses(count)) for count in (0, 1, 3)]
    await asyncio.sleep(0)
    await asyncio.wait_for(cancel_and_wait(tasks), 5)
    assert all(task.cancelled() for task in tasks)


async def test_nothing_to_cancel_is_done_at_once() -> None:
    ended = asyncio.create_task(asyncio.sleep(0))
    await ended
    await cancel_and_wait([])
    await cancel_and_wait([ended])
