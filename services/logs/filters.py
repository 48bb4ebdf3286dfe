"""Word filters on disk.  Each is read where it is needed: in memory they would take an eighth of what the blocks take on disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from services.logs.words import may_hold


@dataclass(frozen=True, slots=True)
class FilterPlace:
    """Where a block's filter lies."""

    path: Path
    offset: int
    size: int
    check: int

    def may_hold(self, words: Sequence[str]) -> bool:
        """Whether all of these words may be in the block; True where the filter cannot be read: it only saves work."""
        found = self._read()
        return crc32(found) != self.check or len(found) != self.size or may_hold(found, words)

    def _read(self) -> bytes:
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
        except OSError:
            return b""
        try:
            return os.pread(descriptor, self.size, self.offset)
        except OSError:
            return b""
        finally:
            os.close(descriptor)
