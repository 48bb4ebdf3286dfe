"""Runs the platform's processes on one machine: in order, for ever, and down again in reverse.

Those that do not wait for each other start at the same time.  What runs is written to a status file, so
`lattice status` and `lattice down` need no connection; they recognise a process by pid *and* start time, so a
status file from before a reboot never makes them signal a stranger.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from loguru import logger
from pydantic import BaseModel, ValidationError

from lattice.errors import Invalid, LatticeError, Temporary
from lattice.files import write_durably
from standalone.child import Child, ProcessStatus
from standalone.log_files import rotate_if_large, tail
from standalone.process_spec import ProcessSpec
from standalone.processes import ProcessIdentity, is_running, look_up
from standalone.spawning import Spawn, execute

LOG_CHECK_S = 30.0


class SupervisorStatus(BaseModel, frozen=True):
    """What the status file says: who supervises, and what became of each process."""

    pid: int
    started_ticks: int
    processes: tuple[ProcessStatus, ...] = ()

    @property
    def identity(self) -> ProcessIdentity:
        """For `processes.send_signal` and `is_running`."""
        return ProcessIdentity(self.pid, self.started_ticks)

    @property
    def alive(self) -> bool:
        return is_running(self.identity)


def read_status(path: Path) -> SupervisorStatus | None:
    """The last status written, or None if there is none that can be read."""
    try:
        return SupervisorStatus.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def start_order(specs: Sequence[ProcessSpec]) -> list[tuple[str, ...]]:
    """Groups that may start together, each after the one before.  Raises Invalid for a cycle or unknown
    name.
    """
    names = [spec.name for spec in specs]
    unknown = {name for spec in specs for name in spec.after} - set(names)
    if unknown or len(set(names)) != len(names):
        raise Invalid(
            f"Processes need distinct names, and wait only for each other: {sorted(unknown) or names}."
        )
    sorter = TopologicalSorter({spec.name: spec.after for spec in specs})
    try:
        sorter.prepare()
    except CycleError as error:
        raise Invalid(f"These processes wait for each other: {' -> '.join(error.args[1])}.") from error
    groups = []
    while sorter.is_active():
        groups.append(tuple(sorted(sorter.get_ready())))
        sorter.done(*groups[-1])
    return groups


class Supervisor:
    """Keeps the given processes running from `start` to `stop`."""

    def __init__(self, specs: Sequence[ProcessSpec], *, status_file: Path, spawn: Spawn = execute) -> None:
        self._groups = start_order(specs)
        self._children = {spec.name: Child(spec, self._write_status, spawn=spawn) for spec in specs}
        self._status_file = status_file
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._log_task: asyncio.Task[None] | None = None
        own = look_up(os.getpid())
        if own is None:
            raise LatticeError(
                "This system shows no processes under /proc: Lattice's supervisor needs Linux."
            )
        self._identity = own.identity

    @property
    def status(self) -> SupervisorStatus:
        processes = tuple(child.status for child in self._children.values())
        return SupervisorStatus(
            pid=self._identity.pid, started_ticks=self._identity.started_ticks, processes=processes
        )

    async def start(self, *, timeout_s: float) -> None:
        """Start all and wait until each was ready once.

        Raises Temporary, with the end of the logs, if that takes too long, or one of them stays down or ends again
        and again; the others keep running until `stop`.
        """
        if threading.current_thread() is not threading.main_thread():
            raise Invalid("Supervise from the main thread: processes end with the thread that started them.")
        self._write_status()
        self._log_task = asyncio.create_task(self._watch_logs())
        for name, child in self._children.items():
            first = [self._children[other].became_ready for other in child.spec.after]
            self._tasks[name] = asyncio.create_task(child.run(first), name=f"supervise {name}")
        waiting = [self._until_ready(name) for name in self._children]
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.gather(*waiting)
        except TimeoutError as error:
            missing = [child for child in self._children.values() if not child.became_ready.is_set()]
            raise _not_ready(f"Not ready within {timeout_s:.0f} s", missing) from error

    async def wait(self) -> None:
        """Until no process is left that would be started again."""
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def stop(self) -> None:
        """Stop all, those first that others do not wait for."""
        if self._log_task is not None:
            self._log_task.cancel()
        for group in reversed(self._groups):
            await asyncio.gather(*(self._stop_one(name) for name in group))
        self._write_status()

    async def _until_ready(self, name: str) -> None:
        child = self._children[name]
        ready = asyncio.create_task(child.became_ready.wait())
        hopeless = asyncio.create_task(child.is_hopeless.wait())
        try:
            await asyncio.wait({ready, hopeless, self._tasks[name]}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
            hopeless.cancel()
        if not child.became_ready.is_set():
            raise _not_ready("It does not start" if child.is_hopeless.is_set() else "It stays down", [child])

    async def _stop_one(self, name: str) -> None:
        await self._children[name].stop()
        if name in self._tasks:
            await asyncio.gather(self._tasks[name], return_exceptions=True)

    async def _watch_logs(self) -> None:
        while True:
            await asyncio.sleep(LOG_CHECK_S)
            for child in self._children.values():
                await asyncio.to_thread(rotate_if_large, child.spec.log_file)

    def _write_status(self) -> None:
        """On a full disk the file stays as it was until the next change: no process goes unwatched for it."""
        try:
            write_durably(self._status_file, self.status.model_dump_json(indent=1).encode())
        except OSError as error:
            logger.warning("the status file cannot be written: {}", error)


def _not_ready(how: str, missing: Sequence[Child]) -> Temporary:
    parts = [f"{child.spec.name} ({child.status.last_exit or 'no answer yet'})" for child in missing]
    logs = [f"--- {child.spec.log_file}\n{tail(child.spec.log_file)}" for child in missing]
    return Temporary("\n".join([f"{how}: {', '.join(parts)}.", *logs]))
