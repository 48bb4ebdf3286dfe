"""Log files as the Engine writes them: `<id>-json.log`, and two older ones."""

from __future__ import annotations

import shutil
from pathlib import Path

from lattice import log_records
from lattice.runtime import LogPiece

_OLDER = 2


class FakeLogFiles:
    """The folder in which the Engine keeps its containers."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, container_id: str) -> Path:
        """Where a container's log is written."""
        return self._root / container_id / f"{container_id}-json.log"

    def make(self, container_id: str) -> None:
        """Have a file, empty at first."""
        path = self.path(container_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def write(self, container_id: str, piece: LogPiece) -> None:
        """Add a record."""
        self.make(container_id)
        text = piece.text.decode(errors="replace")
        with self.path(container_id).open("ab") as file:
            file.write(log_records.record(piece.time_ns, piece.stream, text))

    def rotate(self, container_id: str) -> None:
        """Begin a new file."""
        path = self.path(container_id)
        names = [path, *(path.with_name(f"{path.name}.{number}") for number in range(1, _OLDER + 1))]
        names[-1].unlink(missing_ok=True)
        for older, newer in zip(names[:0:-1], names[-2::-1], strict=True):
            if newer.exists():
                newer.rename(older)
        path.touch()

    def remove(self, container_id: str) -> None:
        """All files of a container."""
        shutil.rmtree(self.path(container_id).parent, ignore_errors=True)
