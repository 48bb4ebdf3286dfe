"""Processes that became ours by adoption: those that the nursery forked for us, and orphans that nobody waits for."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress

ORPHANS_LOOK_S = 5.0


class Adopted:
    """A child of this process that another one has forked; to be waited for like any other.

    Made on the loop's thread.  Raises ProcessLookupError if there is none of this pid.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = asyncio.Event()
        self._loop, self._descriptor = asyncio.get_running_loop(), os.pidfd_open(pid)
        self._loop.add_reader(self._descriptor, self._collect)

    async def wait(self) -> int:
        """Its exit status once it has ended; negative: the signal."""
        await self._ended.wait()
        assert self.returncode is not None, "it is known before the event is set"
        return self.returncode

    def send_signal(self, signum: signal.Signals) -> None:
        """Raises ProcessLookupError if it has ended."""
        if self.returncode is not None:
            raise ProcessLookupError(self.pid)
        os.kill(self.pid, signum)  # nobody else can have its pid before `_collect`

    def kill(self) -> None:
        """Without asking."""
        self.send_signal(signal.SIGKILL)

    def _collect(self) -> None:
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        _, status = os.waitpid(self.pid, 0)
        self.returncode = os.waitstatus_to_exitcode(status)
        self._ended.set()


async def collect_orphans() -> None:
    """For ever: wait for the children that nobody waits for, so that none stays a zombie.

    Whoever adopts gets more than those it asked for: also what a killed part had started.  A process of ours is waited for as soon as it
    ends, so one that is still there at the next look has nobody.
    """
    seen: int | None = None
    while True:
        await asyncio.sleep(ORPHANS_LOOK_S)
        found = _ended_child()
        if found is not None and found == seen:
            _collect(found)
            found = _ended_child()
        seen = found


def _ended_child() -> int | None:
    """One that has ended and was not waited for; it stays so."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return found.si_pid if found else None


def _collect(pid: int) -> None:
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
