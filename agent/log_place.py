"""Where in a container's log files reading goes on, after the agent was away or the Engine began a new file.  Pure.

A file is known by its inode and by a fingerprint of its first record, because a file system gives an inode again as soon as it is free.  Where
the place is lost, a gap says so, and what was read before is told by its time; where even the numbers are in doubt, they go on far above all
that may have been used (microseconds since 1970), since a number that meant another record before would make the store drop this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import model_validator

from lattice.contracts.messages import GapCause
from lattice.contracts.nouns import Noun

# The Engine keeps the file that it writes and two older ones (`docker_options.LOG_CONFIG`): with all three, there may have been more.
MOST_FILES = 3


class LogPosition(Noun):
    """How far one container's log was read: up to the record with this number, and where that ends.

    In a file, that is its inode, its fingerprint and an offset.  Of the logs API only times are known: `count` pieces at or after `base_ns` are
    done, the first of them of the time `first_ns`.
    """

    number: int = 0
    last_ns: int = 0
    inode: int = 0
    fingerprint: str = ""
    offset: int = 0
    base_ns: int = 0
    first_ns: int = 0
    count: int = 0

    @model_validator(mode="before")
    @classmethod
    def _earlier_name(cls, given: Any) -> Any:
        """Earlier agents kept the number as `line`."""
        if isinstance(given, dict) and "line" in given:
            return {"number": given["line"], **given}
        return given

    @property
    def is_in_file(self) -> bool:
        return self.inode != 0


@dataclass(frozen=True, slots=True)
class FileSeen:
    """One of the files, as it is now; `is_whole` says that the position, if it is in this file, lies behind a record."""

    inode: int
    fingerprint: str
    is_whole: bool = True


@dataclass(frozen=True, slots=True)
class Start:
    """Begin with this one of the files, there; `gap` says why records before it are missing."""

    index: int
    offset: int = 0
    gap: GapCause | None = None
    after_ns: int = 0  # leave out what is not newer: it was read before
    from_first: bool = False  # its first record has the number 1, whatever was counted before
    far_number: bool = False  # what the next number is cannot be known


def start_at(position: LogPosition, files: Sequence[FileSeen]) -> Start:
    """Where to begin in the files, oldest first, of which there is at least one."""
    if position.is_in_file:
        return _found(position, files)
    if (
        len(files) < MOST_FILES
    ):  # nothing was ever thrown away, so each record has the number that it had before
        return Start(0, from_first=True)
    if position.number == 0:
        return Start(0, gap=GapCause.ROTATED, far_number=True)
    return Start(0, gap=GapCause.ROTATED, after_ns=position.last_ns)


def following(inode: int, inodes: Sequence[int]) -> int:
    """The first file that comes after the one with this inode, which was kept open; 0 where that is none of them, and others may have come
    between."""
    return inodes.index(inode) + 1 if inode in inodes else 0


def _found(position: LogPosition, files: Sequence[FileSeen]) -> Start:
    for index, each in enumerate(files):
        if (each.inode, each.fingerprint) != (position.inode, position.fingerprint):
            continue
        if each.is_whole:
            return Start(index, position.offset)
        # A power cut took the end of the file after it was read.
        return Start(index, gap=GapCause.DAMAGED, after_ns=position.last_ns, far_number=True)
    return Start(0, gap=GapCause.ROTATED, after_ns=position.last_ns)
