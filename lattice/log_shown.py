"""Lines as `LogLine` has them, stored ones and live ones, written at once as JSON: a page may have ten thousand of them.  Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache

import orjson

from lattice.contracts.messages import GapCause, LogBlock
from lattice.log_levels import LogLevel, level_of
from lattice.log_records import Line, QuotedLine

GAP = "gap"
_MICROSECONDS = len("2030-01-01T00:00:00.000000")
_CAUSES = {
    GapCause.SPOOL_FULL: "the platform was away and the node had no more room for them",
    GapCause.ROTATED: "the Engine let its file go before it was read",
    GapCause.DAMAGED: "they could not be read",
}


class LineWriter:
    """Writes lines of one block as `LogLine`; the workload and the node by name.

    What is the same for all lines of a block is turned into text once, and levels are read only where they are wanted: together that takes two
    thirds off the time of a page.
    """

    def __init__(self, about: LogBlock, *, workload: str, node: str, levels: bool) -> None:
        same = {"node": node, "workload": workload, "instance": about.instance_id}
        self._names = _text(same)[1:-1]
        self._whose = _text({"source": about.source, "project": about.project})[1:-1]
        self._gap, self._levels = about.gap, levels

    def write(self, line: Line) -> str:
        """One line."""
        is_gap = self._gap is not None and line.stream == GAP
        level = level_of(line.text) if self._levels and not is_gap else None
        gap = _text(self._gap.model_dump(mode="json")) if is_gap and self._gap else "null"
        return (
            f'{{"time":"{time_text(line.time_ns)}",{self._names},"stream":{_text(line.stream)},"message":{_text(line.text)},'
            f'"number":{line.number},{self._whose},"level":{_quoted(level)},"gap":{gap}}}'
        )

    def write_quoted(self, lines: Iterable[QuotedLine], first: int) -> list[str]:
        """Lines that nobody has looked at, numbered from `first` on, without their levels; written out, since a call for each costs as much."""
        names, whose = self._names, self._whose
        return [
            f'{{"time":"{stamp[:_MICROSECONDS]}Z",{names},"stream":"{stream}","message":"{quoted}",'
            f'"number":{number},{whose},"level":null,"gap":null}}'
            for number, (stamp, stream, quoted) in enumerate(lines, first)
        ]


def _text(value: object) -> str:
    return orjson.dumps(value).decode()


def _quoted(level: LogLevel | None) -> str:
    return "null" if level is None else f'"{level.value}"'


def gap_line(about: LogBlock) -> Line:
    """What is shown where lines are missing."""
    assert about.gap is not None
    lines, size = about.gap.lines, about.gap.size_bytes
    what = (
        f"{lines} lines" if lines is not None else "lines" if size is None else f"some lines ({size} bytes)"
    )
    text = f"{what} are missing until {time_text(about.last_at_ns)}: {_CAUSES[about.gap.cause]}"
    return Line(about.last, about.first_at_ns, GAP, text)


def time_text(time_ns: int) -> str:
    """RFC 3339 with microseconds: what is finer is cut off."""
    seconds, rest = divmod(time_ns, 10**9)
    return f"{_second_text(seconds)}.{rest // 1000:06}Z"


def exact_time_text(time_ns: int) -> str:
    """RFC 3339 with nanoseconds."""
    seconds, rest = divmod(time_ns, 10**9)
    return f"{_second_text(seconds)}.{rest:09}Z"


@lru_cache(maxsize=64)
def _second_text(seconds: int) -> str:
    """Lines come in bursts within one second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
