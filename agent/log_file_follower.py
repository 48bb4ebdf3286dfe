"""Reads one container's log from the Engine's own files.

What was read counts only once `advance` says that it is in the spool; until then the same is read again.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from agent.log_chunks import (
    CHUNK_BYTES,
    Chunk,
    LogSource,
    chunk_of,
    end_of_records,
    first_ns,
    gap_chunk,
    tail_of,
)
from agent.log_files import LogFile, close_all, inode_of, open_files
from agent.log_place import LogPosition, following, start_at
from lattice.contracts.messages import GapCause

# So many newer files are kept open; they take room on the disk, though the Engine threw them away.
_MOST_AHEAD = 8


@dataclass(frozen=True, slots=True)
class _Missing:
    """A gap that is told with the first records after it, so that its end is known."""

    cause: GapCause
    size_bytes: int | None = None
    far_number: bool = False


class FileFollower:
    """Follows the files, whatever they are called."""

    def __init__(self, source: LogSource, path: str, position: LogPosition) -> None:
        self.source, self.position = source, position
        self.tail = b""
        self._path = path
        self._file: LogFile | None = None
        self._newer: list[LogFile] = []
        self._offset = 0
        self._is_closed = False
        self._missing: list[_Missing] = []
        self._last_look: tuple[int, int] = (0, 0)
        self._read: tuple[list[Chunk], bytes] = ([], b"")

    def unread_bytes(self) -> int:
        """About how much there is to read, for the price of one `stat`; 0 when the file is as it was when it was read to its end."""
        look = self._look()
        if look in (self._last_look, (0, 0)):
            return 0
        same_file = self._file is not None and look[0] == self._file.inode
        return look[1] - self._offset if same_file and look[1] > self._offset else CHUNK_BYTES

    def read(self) -> list[Chunk]:
        """What comes next; nothing when everything was read.  Blocks."""
        look = self._look()  # before reading: what is written meanwhile changes it
        chunks, records = self._read = self._next()
        if not chunks:
            self._last_look = look
        elif records:
            self.tail = tail_of(self.tail, records)
        return chunks

    def advance(self) -> None:
        """What `read` gave last is in the spool."""
        chunks, _ = self._read
        self.position = chunks[-1].position
        self._offset = self.position.offset
        self._missing.clear()

    def close(self) -> None:
        """Let go of the file; nothing is read any more."""
        self._is_closed = True
        close_all([*([self._file] if self._file else []), *self._newer])
        self._file, self._newer = None, []

    def _look(self) -> tuple[int, int]:
        try:
            stat = os.stat(self._path)
        except OSError:  # it is renamed right now, or gone
            return 0, 0
        return stat.st_ino, stat.st_size

    def _next(self) -> tuple[list[Chunk], bytes]:
        if self._file is None and not self._is_closed:
            self._begin()
        while self._file is not None:
            self._look_ahead(self._file)  # before the read: a file that has a successor is final
            found = self._read_on(self._file)
            if found[0] or not self._newer:
                return found
            self._go_on(self._file)
        return [], b""

    def _read_on(self, file: LogFile) -> tuple[list[Chunk], bytes]:
        if file.size() < self._offset:
            self._begin_anew(file)
        data = file.read(self._offset)
        end = end_of_records(data)
        if end:
            return self._chunks(file, data[:end]), data[:end]
        if len(data) == CHUNK_BYTES:  # no record is so long
            return self._gaps([*self._missing, _Missing(GapCause.DAMAGED, len(data))], file, len(data)), b""
        return [], b""

    def _chunks(self, file: LogFile, records: bytes) -> list[Chunk]:
        gaps = self._gaps(self._missing, file, 0, first_ns(records, self.position.last_ns))
        before = gaps[-1].position if gaps else self.position
        return [*gaps, chunk_of(records, before, _place(file, self._offset + len(records)))]

    def _gaps(self, missing: list[_Missing], file: LogFile, size: int, until_ns: int = 0) -> list[Chunk]:
        chunks: list[Chunk] = []
        at = self.position.model_copy(update=_place(file, self._offset + size))
        for each in missing:
            chunk = gap_chunk(each.cause, at, until_ns, size_bytes=each.size_bytes, far=each.far_number)
            chunks.append(chunk)
            at = chunk.position
        return chunks

    def _begin(self) -> None:
        files = open_files(self._path)
        if not files:
            return
        start = start_at(self.position, [file.seen(self.position) for file in files])
        index, self._offset = start.index, start.offset
        if start.from_first:
            self.position = LogPosition()
        if start.gap is not None:
            self._missing.append(_Missing(start.gap, far_number=start.far_number))
        if start.after_ns:
            index, self._offset = _newer(files, index, start.after_ns)
        self._file, self._newer = files[index], files[index + 1 :]
        close_all(files[:index])

    def _look_ahead(self, file: LogFile) -> None:
        """Open the files that were begun since, so that a container that writes faster than it is read loses nothing."""
        newest = self._newer[-1] if self._newer else file
        if len(self._newer) >= _MOST_AHEAD or inode_of(self._path) in (0, newest.inode):
            return
        files = open_files(self._path)
        fresh = following(newest.inode, [each.inode for each in files])
        if fresh == 0 and files:
            files[0].comes_after_gap = True
        self._newer += files[fresh:]
        close_all(files[:fresh])

    def _begin_anew(self, file: LogFile) -> None:
        """Somebody emptied the file."""
        self._missing.append(_Missing(GapCause.DAMAGED))
        self._offset, file.fingerprint = 0, ""

    def _go_on(self, file: LogFile) -> None:
        """Go from a file that was read to its end to the next one."""
        torn = file.size() - self._offset
        if torn:
            self._missing.append(_Missing(GapCause.DAMAGED, torn))
        file.close()
        self._file, self._offset = self._newer.pop(0), 0
        if self._file.comes_after_gap:
            self._missing.append(_Missing(GapCause.ROTATED))


def _newer(files: list[LogFile], index: int, time_ns: int) -> tuple[int, int]:
    """Which file has the first record that is newer, and where."""
    while True:
        offset = files[index].offset_after(time_ns)
        if files[index].read(offset) or index == len(files) - 1:
            return index, offset
        index += 1


def _place(file: LogFile, offset: int) -> dict[str, object]:
    return {
        "inode": file.inode,
        "fingerprint": file.known(),
        "offset": offset,
        "base_ns": 0,
        "first_ns": 0,
        "count": 0,
    }
