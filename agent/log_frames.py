"""The Engine's log stream, taken apart: an 8-byte header per frame (which stream, how long), then a timestamp, a space and the text.

aiodocker gives lines with timestamps but not from which stream they came, so the frames are read here.  The Engine cuts a line longer than
16 KiB into several frames; only the last one ends with a newline.
"""

from __future__ import annotations

import struct
from datetime import UTC, datetime

from lattice.runtime import LogPiece

_HEADER = struct.Struct(">BxxxL")
_STREAMS = ("stdin", "stdout", "stderr")
_SECONDS = 19  # 2030-01-01T00:00:00, then a dot, nine digits and Z
_STAMP = 30


class FrameReader:
    """Takes bytes as they come and gives the pieces that are complete."""

    def __init__(self) -> None:
        self._rest = b""
        self._second_text = b""
        self._second_ns = 0

    def feed(self, data: bytes) -> list[LogPiece]:
        """The pieces that `data` completes."""
        data = self._rest + data
        pieces, at = [], 0
        while len(data) - at >= _HEADER.size:
            stream, size = _HEADER.unpack_from(data, at)
            end = at + _HEADER.size + size
            if end > len(data):
                break
            pieces.append(self._piece(stream, data[at + _HEADER.size : end]))
            at = end
        self._rest = data[at:]
        return pieces

    def _piece(self, stream: int, frame: bytes) -> LogPiece:
        time_ns = self._time_ns(frame[:_STAMP])
        return LogPiece(_STREAMS[stream], time_ns, frame[_STAMP + 1 :])

    def _time_ns(self, stamp: bytes) -> int:
        """Lines come in bursts within one second, whose text is turned into a number once."""
        if stamp[:_SECONDS] != self._second_text:
            self._second_text = stamp[:_SECONDS]
            second = datetime.fromisoformat(self._second_text.decode()).replace(tzinfo=UTC)
            self._second_ns = int(second.timestamp()) * 1_000_000_000
        return self._second_ns + int(stamp[_SECONDS + 1 : _STAMP - 1])
