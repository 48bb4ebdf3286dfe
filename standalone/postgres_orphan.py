"""What to do about a Postgres that an earlier run left behind on the same data.

When the supervisor dies, the kernel tells Postgres to shut down, which takes a moment; a crash may leave one
that still runs, one that is dead but not yet collected (Postgres takes such a zombie for a living server), or
a pid file that names a stranger.  The file of a server that lives is never removed, for two servers on the
same files destroy them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from lattice.errors import Temporary
from standalone.processes import ProcessIdentity, look_up, send_signal

PID_FILE = "postmaster.pid"
READY = "ready"
_STATUS_LINE = 7

FAST_STOP_S = 20.0
IMMEDIATE_STOP_S = 10.0


@dataclass(frozen=True, slots=True)
class Leftover:
    """The process that the pid file names, as found now.

    `serves_this_data` is None where the kernel does not let us look.
    """

    identity: ProcessIdentity
    zombie: bool
    serves_this_data: bool | None
    same_user: bool


@dataclass(frozen=True, slots=True)
class Free:
    """Nothing is in the way."""

    reason: str


@dataclass(frozen=True, slots=True)
class Wait:
    """It is ending by itself."""

    reason: str


@dataclass(frozen=True, slots=True)
class Stop:
    """A server of ours still runs: end it."""

    identity: ProcessIdentity
    reason: str


@dataclass(frozen=True, slots=True)
class RemoveFile:
    """The file names a living stranger of the same user, which Postgres would take for a server."""

    reason: str


Judgement = Free | Wait | Stop | RemoveFile


def judge(named_pid: int | None, found: Leftover | None) -> Judgement:
    """What the pid file and the process it names mean for a start."""
    if named_pid is None:
        return Free("there is no pid file")
    if found is None:
        return Free(f"process {named_pid} is gone; Postgres replaces the file itself")
    if found.zombie:
        return Wait(f"process {named_pid} is dead but not collected yet")
    if found.serves_this_data:
        return Stop(found.identity, f"process {named_pid} still serves this data")
    if found.serves_this_data is None and found.same_user:
        return Wait(f"process {named_pid} cannot be examined")
    if found.same_user:
        return RemoveFile(f"process {named_pid} is not Postgres: its pid was given to somebody else")
    return Free(f"process {named_pid} belongs to another user; Postgres ignores it")


def read_pid_file(data: Path) -> list[str]:
    """The lines of the pid file; empty if there is none."""
    try:
        return (data / PID_FILE).read_text().splitlines()
    except FileNotFoundError:
        return []


def is_ready(data: Path) -> bool:
    """Whether the server that runs on this data accepts connections."""
    lines = read_pid_file(data)
    return len(lines) > _STATUS_LINE and lines[_STATUS_LINE].strip() == READY and _lives(_pid(lines))


async def clear_the_way(data: Path) -> None:
    """Make sure that no other server uses this data.  Raises Temporary if one does not end in time."""
    began_s, sent = time.monotonic(), set[signal.Signals]()
    while not isinstance(judgement := look(data), Free):
        waited_s = time.monotonic() - began_s
        if waited_s > FAST_STOP_S + IMMEDIATE_STOP_S:
            raise Temporary(f"Another Postgres is in the way: {judgement.reason}. End it, then try again.")
        if isinstance(judgement, RemoveFile):
            (data / PID_FILE).unlink(missing_ok=True)
        if isinstance(judgement, Stop) and (wanted := stop_signal(waited_s)) not in sent:
            send_signal(judgement.identity, wanted)
            sent.add(wanted)
        await asyncio.sleep(0.05)


def look(data: Path) -> Judgement:
    """Judge what is there now."""
    return judge(_pid(read_pid_file(data)), _find(data))


def stop_signal(waited_s: float) -> signal.Signals:
    """A clean shutdown first; when that takes too long, one that recovers at the next start."""
    return signal.SIGINT if waited_s < FAST_STOP_S else signal.SIGQUIT


def _pid(lines: list[str]) -> int | None:
    text = lines[0].strip().lstrip("-") if lines else ""
    return int(text) if text.isdigit() else None


def _lives(pid: int | None) -> bool:
    state = look_up(pid) if pid is not None else None
    return state is not None and not state.zombie


def _find(data: Path) -> Leftover | None:
    pid = _pid(read_pid_file(data))
    state = look_up(pid) if pid is not None else None
    if state is None:
        return None
    folder = Path(f"/proc/{state.identity.pid}")
    try:
        same_user = folder.stat().st_uid == data.stat().st_uid
        return Leftover(state.identity, state.zombie, _serves(folder, data), same_user)
    except FileNotFoundError:
        return None


def _serves(process: Path, data: Path) -> bool | None:
    """Compared by file, not by name: inside a private view the same folder has another path."""
    try:
        is_postgres = Path(os.readlink(process / "exe")).name.removesuffix(" (deleted)") == "postgres"
        return is_postgres and os.path.samefile(process / "cwd", data)
    except FileNotFoundError:
        return False
    except PermissionError:
        return None
