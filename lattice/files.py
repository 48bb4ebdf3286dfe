"""Small files that must survive a power cut: keys, journals, status.

A reader sees either the old content or the new one, never a part: the content is written beside the target,
flushed to the disk, renamed over it, and the folder is flushed too, because a rename that was not flushed may
be forgotten.  The mode is given before the first byte is written, so a private key is at no moment readable
by others.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

PRIVATE = 0o600
PUBLIC = 0o644


def write_durably(path: Path, content: bytes, *, mode: int = PRIVATE) -> None:
    """Replace `path` with `content` in one step that survives a crash; missing folders are made private
    (0700).
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        _write_flushed(beside, content, mode)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Make the renames and removals in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_flushed(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)  # the umask may have taken bits that were asked for
        file.write(content)
        file.flush()
        os.fsync(descriptor)
