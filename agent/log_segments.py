"""One file of the spool: frames are added at its end, and read from anywhere.  Everything here blocks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from agent.log_spool_frames import SpoolHeader
from lattice.checked_frames import Damage, Frame, scan
from lattice.contracts.messages import LogBlock
from lattice.number_ranges import Range, Ranges, added, without

_ENDING = ".frames"


class Segment:
    """An open file, how much of it is frames, and which of their records are not let go yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.serial = int(path.stem)
        self.held: dict[str, Ranges] = {}
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.size = os.fstat(self._descriptor).st_size

    def write(self, data: bytes) -> None:
        """Add frames.  Where the disk is full nothing of them stays."""
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(self._descriptor, data[written:], self.size + written)
        except OSError:
            self.cut(self.size)
            raise
        self.size += len(data)

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self._descriptor, size, offset)

    def flush(self) -> None:
        os.fsync(self._descriptor)

    def cut(self, size: int) -> None:
        """Forget everything behind."""
        with suppress(OSError):
            os.ftruncate(self._descriptor, size)
        self.size = size

    def close(self) -> None:
        os.close(self._descriptor)

    def remove(self) -> None:
        self.close()
        self.path.unlink(missing_ok=True)

    def scan(self, offset: int = 0, *, verify_bodies: bool = False) -> Iterator[Frame | Damage]:
        return scan(self.read, self.size, offset, verify_bodies=verify_bodies)

    def headers(self) -> Iterator[tuple[SpoolHeader, Frame]]:
        """Those that are intact."""
        for each in self.scan():
            if isinstance(each, Frame):
                yield SpoolHeader.model_validate_json(each.header), each

    def body(self, frame: Frame) -> bytes | None:
        """None when it is damaged."""
        body = self.read(frame.body_offset, frame.body_size)
        return body if frame.is_intact(body) else None

    def hold(self, block: LogBlock) -> None:
        """A frame with these records is in here."""
        self.held[block.source] = added(self.held.get(block.source, ()), (block.first, block.last))

    def let_go(self, source: str, numbers: Range) -> bool:
        """Whether there was something to let go."""
        before = self.held.get(source, ())
        left = without(before, numbers)
        if left:
            self.held[source] = left
        else:
            self.held.pop(source, None)
        return left != before


def path_of(folder: Path, serial: int) -> Path:
    return folder / f"{serial:012}{_ENDING}"


def segments_in(folder: Path) -> list[Segment]:
    """Oldest first."""
    return [Segment(path) for path in sorted(folder.glob(f"*{_ENDING}"))]
