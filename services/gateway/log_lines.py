"""Log lines on their way to a reader, and the seam between stored and live ones.

Records of one container are numbered, so (instance, container, number, time) names a line for ever.  Whatever comes twice, from the store and
from the live subject, is shown once.  Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import orjson

from lattice import log_records
from lattice.contracts.messages import LogBlock, LogLines, LogPlace
from lattice.errors import FieldError, Invalid
from lattice.log_matching import LineMatcher
from lattice.log_shown import LineWriter, gap_line, time_text

_REMEMBERED = 20_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PLACE = re.compile(r"(\d{1,19}):([A-Za-z0-9-]{0,64}):([a-f0-9]{0,128}):(\d{1,19})")


class Shown(NamedTuple):
    """One line as JSON, and what tells it from all others."""

    time: str
    instance: str
    source: str
    number: int
    json: str

    @property
    def key(self) -> tuple[str, str, str, int]:
        return self[:4]


def time_of(time_ns: int) -> datetime:
    """Nanoseconds since 1970 as a time; what is finer than a microsecond is cut off."""
    return _EPOCH + timedelta(microseconds=time_ns // 1000)


def time_ns_of(time: datetime) -> int:
    """The other way round, without the rounding of floats."""
    return (time - _EPOCH) // timedelta(microseconds=1) * 1000


def time_ns_of_text(text: str) -> int:
    """The same of a time as lines show it."""
    return time_ns_of(datetime.fromisoformat(text))


def decode(
    meta: LogBlock, body: bytes, matcher: LineMatcher, *, workload: str, node: str, levels: bool
) -> Iterator[Shown]:
    """The wanted lines of a live block; of a gap, what is shown for it.  Raises Invalid for a block that cannot be read."""
    if meta.gap is not None:
        lines: Iterator[log_records.Line] = iter((gap_line(meta),))
    else:
        lines = (
            line for line in log_records.lines(_unpacked(meta, body), meta.first) if matcher.matches(line)
        )
    writer = LineWriter(meta, workload=workload, node=node, levels=levels)
    for line in lines:
        yield Shown(time_text(line.time_ns), meta.instance_id, meta.source, line.number, writer.write(line))


def stored_lines(answer: LogLines) -> tuple[Shown, ...]:
    """What the store answered, line by line."""
    return tuple(_shown(text) for text in json_lines(answer).splitlines())


def json_lines(answer: LogLines) -> bytes:
    """The same as one text."""
    return log_records.unpack(answer.packed) if answer.packed else b""


def place_token(place: LogPlace) -> str:
    """A place in logs as a page token."""
    return f"{place.time_ns}:{place.instance_id}:{place.source}:{place.number}"


def read_place(token: str) -> LogPlace:
    """The place in a page token.  Raises Invalid."""
    found = _PLACE.fullmatch(token)
    if found is None:
        detail = "give the token that came with the page before"
        raise Invalid(
            "?page_token= is none of ours.", errors=[FieldError(pointer="/query/page_token", detail=detail)]
        )
    time_ns, instance_id, source, number = found.groups()
    return LogPlace(time_ns=int(time_ns), instance_id=instance_id, source=source, number=int(number))


class Seen:
    """Remembers the newest lines that were shown, so that none is shown twice."""

    def __init__(self, *, capacity: int = _REMEMBERED) -> None:
        self._keys: dict[tuple[str, str, str, int], None] = {}
        self._capacity = capacity

    def first_time(self, line: Shown) -> bool:
        """Whether this line was not shown yet; from now on it was."""
        if line.key in self._keys:
            return False
        self._keys[line.key] = None
        if len(self._keys) > self._capacity:
            del self._keys[next(iter(self._keys))]
        return True


def _shown(text: bytes) -> Shown:
    line: dict[str, Any] = orjson.loads(text)
    return Shown(line["time"], line["instance"], line["source"], line["number"], text.decode())


def _unpacked(meta: LogBlock, body: bytes) -> bytes:
    try:
        return log_records.unpack(body)
    except Invalid as error:
        raise Invalid(f"A block of log lines from {meta.node_id} cannot be read: {error}") from error
