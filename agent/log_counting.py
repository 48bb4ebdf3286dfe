"""How much containers wrote into their logs, and how much of it is lost; counted where everything comes by on its way into the spool."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from agent.log_chunks import Chunk
from lattice.contracts.messages import LogBlock


@dataclass(slots=True)
class LogCount:
    """Of one container, since this agent has read its log."""

    lines: int = 0
    size_bytes: int = 0
    dropped_lines: int = 0


class LogCounting:
    """Counts by container id."""

    def __init__(self) -> None:
        self._counts: dict[str, LogCount] = {}

    def of(self, container_id: str) -> LogCount:
        """What is counted of a container."""
        return self._counts.get(container_id) or LogCount()

    def read(self, container_id: str, chunks: Iterable[Chunk]) -> None:
        """These were read; a gap among them was lost before."""
        count = self._counts.setdefault(container_id, LogCount())
        for each in chunks:
            records = each.last - each.first + 1
            if each.gap is None:
                count.lines += records - each.pieces
                count.size_bytes += each.size_bytes
            else:
                count.dropped_lines += each.gap.lines or records

    def lost(self, gaps: Iterable[LogBlock]) -> None:
        """These had to make room, or cannot be read any more."""
        for each in gaps:
            count = self._counts.setdefault(each.source, LogCount())
            count.dropped_lines += (each.gap and each.gap.lines) or each.last - each.first + 1

    def keep_only(self, container_ids: Collection[str]) -> None:
        """All other containers are gone."""
        self._counts = {each: count for each, count in self._counts.items() if each in container_ids}
