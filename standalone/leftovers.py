"""Ends what a platform left running: asked first, then made to.

The kernel ends the processes of a supervisor that was killed, but not at once, and not if they hang.  They are known from the status file, by
pid and start time, so nobody else is ever signalled.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass

from lattice.errors import Temporary
from standalone.processes import ProcessIdentity, is_running, send_signal
from standalone.supervisor import SupervisorStatus

SUPERVISOR = "supervisor"
POSTGRES = "postgres"
# Postgres may write its last checkpoint for a minute, and the supervisor waits for it.
ASKED_S = 75.0
MADE_S = 10.0
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Leftover:
    """A process of the platform that still runs."""

    name: str
    identity: ProcessIdentity

    @property
    def asks(self) -> signal.Signals:
        """How it is asked to end: Postgres would wait for its clients on SIGTERM."""
        return signal.SIGINT if self.name == POSTGRES else signal.SIGTERM

    @property
    def makes(self) -> signal.Signals:
        """How it is made to end: a killed Postgres leaves its helpers behind, SIGQUIT ends them too."""
        return signal.SIGQUIT if self.name == POSTGRES else signal.SIGKILL


def find_leftovers(status: SupervisorStatus | None) -> list[Leftover]:
    """The processes of this status that run now; the supervisor is first."""
    return [each for each in _named(status) if is_running(each.identity)]


async def end_leftovers(status: SupervisorStatus | None) -> None:
    """End the processes whose supervisor is gone.  Raises Temporary if one does not end."""
    found = find_leftovers(status)
    await _end(found, {each.name: each.asks for each in found}, ASKED_S)
    stubborn = find_leftovers(status)
    await _end(stubborn, {each.name: each.makes for each in stubborn}, MADE_S)
    _check_gone(status)


async def stop_supervisor(status: SupervisorStatus) -> None:
    """Let a living supervisor stop everything in order; what it leaves is ended as `end_leftovers` does."""
    await _end([Leftover(SUPERVISOR, status.identity)], {SUPERVISOR: signal.SIGTERM}, ASKED_S)
    await end_leftovers(status)


async def _end(processes: list[Leftover], signals: dict[str, signal.Signals], patience_s: float) -> None:
    for each in processes:
        send_signal(each.identity, signals[each.name])
    deadline_s = time.monotonic() + patience_s
    while any(is_running(each.identity) for each in processes) and time.monotonic() < deadline_s:
        await asyncio.sleep(POLL_S)


def _check_gone(status: SupervisorStatus | None) -> None:
    left = ", ".join(f"{each.name} (process {each.identity.pid})" for each in find_leftovers(status))
    if left:
        raise Temporary(
            f"These did not end: {left}. They may wait for a disk; try again, or end them yourself."
        )


def _named(status: SupervisorStatus | None) -> Iterator[Leftover]:
    if status is None:
        return
    yield Leftover(SUPERVISOR, status.identity)
    for process in status.processes:
        if process.pid is not None and process.started_ticks is not None:
            yield Leftover(process.name, ProcessIdentity(process.pid, process.started_ticks))
