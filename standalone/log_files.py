"""The files that child processes write their output to: appended, and kept from filling the disk."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import BinaryIO

MAX_BYTES = 32 * 1024**2


def open_log(path: Path) -> BinaryIO:
    """For a child's output.  Opened for appending, so the file may be shortened while the child writes."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    return os.fdopen(descriptor, "wb", buffering=0)


def rotate_if_large(path: Path, *, max_bytes: int = MAX_BYTES) -> bool:
    """Move a large log's content to `<name>.1`; the child goes on writing to the same, now empty, file."""
    try:
        if path.stat().st_size <= max_bytes:
            return False
        shutil.copyfile(path, path.with_name(f"{path.name}.1"))
        os.truncate(path, 0)
    except FileNotFoundError:
        return False
    return True


def tail(path: Path, *, max_bytes: int = 2000) -> str:
    """The end of a log, for an error message."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - max_bytes))
            return file.read().decode(errors="replace").strip()
    except FileNotFoundError:
        return ""
