"""A folder that belongs to one process at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from lattice.errors import LatticeError
from lattice.files import PRIVATE


def take_directory(root: Path) -> int:
    """Make `root` this process's own, for as long as the descriptor is open that is returned.  Raises LatticeError where another has it."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(root / "lock", os.O_RDWR | os.O_CREAT, PRIVATE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise LatticeError(
            f"Another process keeps its data in {root}: give each its own directory."
        ) from error
    return descriptor
