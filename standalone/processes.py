"""Which process is which: a pid alone is not a name, because the kernel gives it to somebody else later.

A process is known by its pid and the moment it started.  Signals go through a pidfd that was opened before
the moment was compared, so not even a reuse in between can hit a stranger.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
ZOMBIE = "Z"
_STATE, _STARTED = 0, 19  # fields 3 and 22 of /proc/<pid>/stat, counted behind the command's closing bracket


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process, also after its pid was reused: `started_ticks` counts clock ticks since the machine
    booted.
    """

    pid: int
    started_ticks: int


@dataclass(frozen=True, slots=True)
class ProcessState:
    """What the kernel says about a pid now."""

    identity: ProcessIdentity
    zombie: bool


def look_up(pid: int) -> ProcessState | None:
    """The process that has this pid now, or None."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    values = stat.rpartition(")")[2].split()
    return ProcessState(ProcessIdentity(pid, int(values[_STARTED])), zombie=values[_STATE] == ZOMBIE)


def is_running(identity: ProcessIdentity) -> bool:
    """Whether that very process still runs; a zombie does not."""
    state = look_up(identity.pid)
    return state is not None and state.identity == identity and not state.zombie


def send_signal(identity: ProcessIdentity, signum: signal.Signals) -> bool:
    """Signal that very process; False if it is gone, whoever has its pid now."""
    try:
        descriptor = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return False
    try:
        return is_running(identity) and _send(descriptor, signum)
    finally:
        os.close(descriptor)


def die_with_parent(signum: signal.Signals) -> Callable[[], None]:
    """A `preexec_fn` by which the kernel sends `signum` to the child when its parent ends, however it ends.

    Linux watches the parent's *thread*: start children from a thread that lives as long as the process.
    """
    _libc()  # a child between fork and exec should not have to load it
    return partial(die_with, os.getpid(), signum)


def die_with(parent: int, signum: signal.Signals) -> None:
    """Let the kernel send `signum` to this process when its parent ends; if that has ended already, end now."""
    _prctl(PR_SET_PDEATHSIG, int(signum))
    if os.getppid() != parent:  # it ended before the kernel was told
        os._exit(1)


def adopt_orphans(*, whether: bool) -> None:
    """Whether this process becomes the parent of those below it whose parent ends, in the place of process 1.

    Raises OSError where the kernel refuses.
    """
    if _prctl(PR_SET_CHILD_SUBREAPER, int(whether)) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _send(descriptor: int, signum: signal.Signals) -> bool:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptor, signum)
        return True
    return False


def _prctl(option: int, value: int) -> int:
    return int(_libc().prctl(option, value, 0, 0, 0))


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
