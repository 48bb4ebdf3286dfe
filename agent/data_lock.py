"""One agent per data directory.  Two would speak as one node: the registry takes the second for a stolen copy of the identity and refuses the
reports of the first until it is started again, so a `lattice node join` on a machine whose agent runs would cut its node off."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lattice.errors import Conflict

_NAME = "agent.lock"
_LONGEST_PID = 20


@contextmanager
def held(data_dir: Path) -> Iterator[None]:
    """Keep other agents out of the folder while the block runs; Conflict if one runs on it already."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(data_dir / _NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(descriptor, data_dir)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, data_dir: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        holder = os.pread(descriptor, _LONGEST_PID, 0).decode() or "unknown"
        raise Conflict(
            f"This machine has an agent already: process {holder} runs on {data_dir}. Use that node, or end that process first; "
            "for another node on this machine give another --data-dir and --name."
        ) from error
