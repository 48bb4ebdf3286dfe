"""The last day: what each minute adds to it, in memory and on the disk, and what is found in it again after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta

from loguru import logger

from services.metrics import metrics
from services.metrics.history_files import HistoryFiles
from services.metrics.minutes import Seen, values_of
from services.metrics.newest import Said
from services.metrics.rings import MINUTES, Rings, Series

_HALF_A_MINUTE = timedelta(seconds=30)


def minute_of(now: datetime) -> int:
    """The number of a minute since 1970."""
    return int(now.timestamp()) // 60


class History:
    """The history of one process."""

    def __init__(self, files: HistoryFiles, *, most_series: int) -> None:
        self._files = files
        self.rings = Rings(most_series)
        self._seen: dict[Series, Seen] = {}
        self._trouble = ""

    def load(self, now: datetime) -> None:
        """Read what is on the disk."""
        since = minute_of(now) - MINUTES + 1
        for minute, values in self._files.read(since):
            self.rings.put(minute, values)

    async def add(self, now: datetime, messages: Iterable[Said]) -> None:
        """Keep the minute that ends about now.  In a thread: of a thousand nodes it takes two seconds, in which nobody is to wait for an answer."""
        await asyncio.to_thread(self._add, minute_of(now - _HALF_A_MINUTE), tuple(messages))

    def _add(self, minute: int, messages: Iterable[Said]) -> None:
        values = self._take(messages)
        refused = self.rings.put(minute, values)
        metrics.SERIES.set(len(self.rings))
        metrics.SERIES_REFUSED.inc(refused)
        self._keep(minute, [each for each in values if self.rings.get(each[0]) is not None])

    def _take(self, messages: Iterable[Said]) -> list[tuple[Series, float]]:
        """What these messages say of the minute; what was read is remembered for the next."""
        values, seen = list[tuple[Series, float]](), dict[Series, Seen]()
        for said in messages:
            for series, value, read in values_of(said, self._seen):
                seen[series] = (said.taken_at, read)
                if value is not None:
                    values.append((series, value))
        self._seen = seen
        # Where there is no room for all, the nodes and services come first.
        return sorted(values, key=lambda each: each[0].instance != "")

    def _keep(self, minute: int, values: list[tuple[Series, float]]) -> None:
        """The disk may be at fault, which is told once; then the memory has it alone."""
        try:
            if values:
                self._files.add(minute, values)
            self._files.let_go(minute)
            metrics.HISTORY_BYTES.set(self._files.size_bytes)
        except OSError as error:
            if str(error) != self._trouble:
                logger.error("the history of metrics cannot be written: {}", error)
            self._trouble = str(error)
        else:
            self._trouble = ""
