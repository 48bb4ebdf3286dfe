"""Log lines out of the blocks that agents send, and the seam between stored and live lines.

Lines of one container are numbered, so (instance, number, time) names a line for ever: numbers start anew with a restarted container, but
not in the same microsecond.  Whatever comes twice, from the store and from the live subject, is shown once.  Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

from lattice import log_records
from lattice.contracts.messages import LogBlock, LogLine
from lattice.errors import Invalid

_REMEMBERED = 20_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def time_of(time_ns: int) -> datetime:
    """Nanoseconds since 1970 as a time; what is finer than a microsecond is cut off."""
    return _EPOCH + timedelta(microseconds=time_ns // 1000)


def time_ns_of(time: datetime) -> int:
    """The other way round, without the rounding of floats."""
    return (time - _EPOCH) // timedelta(microseconds=1) * 1000


def decode(meta: LogBlock, body: bytes, *, workload: str, nodes: Mapping[str, str]) -> Iterator[LogLine]:
    """The lines of one block; `nodes` gives names for node ids.  Raises Invalid for a block that cannot be read."""
    try:
        records = log_records.unpack(body)
    except Invalid as error:
        raise Invalid(f"A block of log lines from {meta.node_id} cannot be read: {error}") from error
    for line in log_records.lines(records, meta.first):
        yield LogLine(
            time=time_of(line.time_ns),
            node=nodes.get(meta.node_id, meta.node_id),
            workload=workload,
            instance=meta.instance_id,
            stream=line.stream,
            message=line.text,
            number=line.number,
        )


class Seen:
    """Remembers the newest lines that were shown, so that none is shown twice."""

    def __init__(self, *, capacity: int = _REMEMBERED) -> None:
        self._keys: dict[tuple[str, int, datetime], None] = {}
        self._capacity = capacity

    def first_time(self, line: LogLine) -> bool:
        """Whether this line was not shown yet; from now on it was."""
        key = (line.instance, line.number, line.time)
        if key in self._keys:
            return False
        self._keys[key] = None
        if len(self._keys) > self._capacity:
            del self._keys[next(iter(self._keys))]
        return True
