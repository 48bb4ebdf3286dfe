"""The log files of one container, as the Engine writes them: `<id>-json.log`, and `.1`, `.2` … that are older.

The Engine closes a file before it gives it another name, so one that is not the newest any more is final.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b

from agent.log_chunks import CHUNK_BYTES, end_of_records, offset_after
from agent.log_place import MOST_FILES, FileSeen, LogPosition

_ENDING = "-json.log"
# A record is at most 16 KiB of text, of which each byte may become six.
_LONGEST_RECORD = 128 * 1024
_ATTEMPTS = 5


@dataclass(slots=True)
class LogFile:
    """An open file: its inode is its own for as long as it is open."""

    descriptor: int
    inode: int
    fingerprint: str = ""
    comes_after_gap: bool = False

    def read(self, offset: int) -> bytes:
        return os.pread(self.descriptor, CHUNK_BYTES, offset)

    def size(self) -> int:
        return os.fstat(self.descriptor).st_size

    def close(self) -> None:
        os.close(self.descriptor)

    def known(self) -> str:
        """Its fingerprint; empty until its first record is whole."""
        if not self.fingerprint:
            record, newline, _ = os.pread(self.descriptor, _LONGEST_RECORD, 0).partition(b"\n")
            self.fingerprint = blake2b(record, digest_size=8).hexdigest() if newline else ""
        return self.fingerprint

    def seen(self, position: LogPosition) -> FileSeen:
        """As it is now; `position` need not be in it."""
        before = os.pread(self.descriptor, 1, position.offset - 1) if position.offset else b"\n"
        return FileSeen(self.inode, self.known(), is_whole=before == b"\n")

    def offset_after(self, time_ns: int) -> int:
        """Where the first record begins that is newer, or the end of the last whole one."""
        at = 0
        while end := end_of_records(data := self.read(at)):
            found = offset_after(data[:end], time_ns)
            if found is not None:
                return at + found
            at += end
        return at


def is_readable(path: str) -> bool:
    """Whether the Engine's own file can be read here."""
    if not path.endswith(_ENDING):  # another format
        return False
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def open_files(path: str) -> list[LogFile]:
    """All files, oldest first; none where the Engine is just changing their names."""
    for _ in range(_ATTEMPTS):
        # Newest first: a file that is renamed meanwhile is met twice, and none is missed.
        files = _distinct([file for name in _names(path) if (file := _open(name)) is not None])
        if files and inode_of(path) == files[0].inode:
            return files[::-1]
        close_all(files)
    return []


def close_all(files: Iterable[LogFile]) -> None:
    for file in files:
        file.close()


def inode_of(path: str) -> int:
    """Which file has the name now; 0 when none has."""
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0


def _names(path: str) -> Sequence[str]:
    return (path, *(f"{path}.{number}" for number in range(1, MOST_FILES)))


def _open(path: str) -> LogFile | None:
    with suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return LogFile(descriptor, os.fstat(descriptor).st_ino)
    return None


def _distinct(files: Sequence[LogFile]) -> list[LogFile]:
    kept: list[LogFile] = []
    for file in files:
        if any(file.inode == each.inode for each in kept):
            file.close()
        else:
            kept.append(file)
    return kept
