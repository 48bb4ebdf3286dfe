"""One supervised process: started, watched, started again when it falls, stopped when asked.

It never outlives the supervisor, not even one that was killed: the kernel ends it then (`die_with_parent`).
It runs in a session of its own, so a Ctrl-C in the terminal reaches the supervisor only, which stops
everything in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from loguru import logger
from pydantic import BaseModel

from lattice.errors import LatticeError
from standalone.process_spec import ProcessSpec
from standalone.processes import look_up
from standalone.restarts import Exit, Leave, Restart, decide, is_hopeless
from standalone.spawning import Running, Spawn, execute

STARTING_POLL_S = 0.05
RUNNING_POLL_S = 2.0
CHECK_TIMEOUT_S = 5.0
COULD_NOT_START = 127
NOT_STARTED = 0


class ProcessStatus(BaseModel, frozen=True):
    """What is known about one process, as others read it from the status file."""

    name: str
    pid: int | None = None
    started_ticks: int | None = None
    since: datetime | None = None
    restarts: int = 0
    ready: bool = False
    last_exit: str | None = None


class Child:
    """One process of the supervisor, started by `spawn`; `changed` is called whenever its status changes."""

    def __init__(self, spec: ProcessSpec, changed: Callable[[], None], *, spawn: Spawn = execute) -> None:
        self.spec = spec
        self.status = ProcessStatus(name=spec.name)
        self.became_ready = asyncio.Event()
        self.is_hopeless = asyncio.Event()
        """It ends again and again and was never ready."""
        self._changed, self._spawn = changed, spawn
        self._stopping = asyncio.Event()
        self._process: Running | None = None

    async def run(self, first: Sequence[asyncio.Event] = ()) -> None:
        """Once `first` have happened, keep it running until it is stopped or stays down."""
        failures = 0
        await self._unless_stopping(asyncio.gather(*(event.wait() for event in first)))
        while not self._stopping.is_set():
            began_s = time.monotonic()
            ended = Exit(await self._run_once(), time.monotonic() - began_s, failures)
            match self._judge(ended):
                case Leave():
                    return
                case Restart(delay_s=delay_s, failures=failures) as restart:
                    if is_hopeless(restart, was_ready=self.became_ready.is_set()):
                        self.is_hopeless.set()
                    await self._pause(delay_s)
                    self._note(restarts=self.status.restarts + 1)

    async def stop(self) -> None:
        """Ask it to end; after the spec's patience, end it and all that it started."""
        self._stopping.set()
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(self.spec.stop_signal)
        try:
            await asyncio.wait_for(process.wait(), self.spec.stop_timeout_s)
        except TimeoutError:
            logger.warning(
                "{} did not stop within {} s and is killed", self.spec.name, self.spec.stop_timeout_s
            )
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    async def _run_once(self) -> int:
        """Start it once and wait for its end; its exit status."""
        try:
            if not await self._unless_stopping(asyncio.ensure_future(self.spec.prepare())):
                return NOT_STARTED
            process = await self._spawn(self.spec)
        except (OSError, LatticeError) as error:
            logger.error("{} cannot be started: {}", self.spec.name, error)
            return COULD_NOT_START
        self._process = process
        if self._stopping.is_set():  # asked while it was being started
            process.kill()
        self._note_started(process.pid)
        watch = asyncio.create_task(self._watch_ready())
        try:
            return await process.wait()
        finally:
            watch.cancel()
            self._note(pid=None, started_ticks=None, ready=False)

    async def _watch_ready(self) -> None:
        while True:
            ready = await self._is_ready()
            if ready != self.status.ready:
                self._note(ready=ready)
            if ready:
                self.became_ready.set()
            await asyncio.sleep(RUNNING_POLL_S if ready else STARTING_POLL_S)

    async def _is_ready(self) -> bool:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                return await self.spec.ready()
        except (OSError, LatticeError) as error:  # a TimeoutError is an OSError
            logger.debug("the check of {} failed: {}", self.spec.name, error)
            return False

    def _judge(self, ended: Exit) -> Restart | Leave:
        stopping = self._stopping.is_set()
        decision = decide(ended, self.spec.policy, stopping=stopping, chance=random.random())
        level = "INFO" if stopping else "WARNING"
        logger.log(level, "{}: {}", self.spec.name, decision.reason)
        self._note(last_exit=decision.reason)
        return decision

    async def _pause(self, delay_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), delay_s)

    async def _unless_stopping(self, work: asyncio.Future[Any]) -> bool:
        """Wait for the work, but not when asked to stop meanwhile; whether it was done.  Raises what it
        raises.
        """
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not work.done():
            work.cancel()
            await asyncio.wait({work})
            return False
        work.result()
        return True

    def _note_started(self, pid: int) -> None:
        state = look_up(pid)
        ticks = state.identity.started_ticks if state else None
        self._note(pid=pid, started_ticks=ticks, since=datetime.now(UTC))

    def _note(self, **changes: object) -> None:
        self.status = self.status.model_copy(update=changes)
        self._changed()
