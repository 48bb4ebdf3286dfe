"""Lines as `LogLine` has them, stored ones and live ones, written at once as JSON: a page may have ten thousand of them.  Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

import orjson

from lattice.contracts.messages import GapCause, LogBlock
from lattice.log_levels import level_of
from lattice.log_records import Line

GAP = "gap"
_CAUSES = {
    GapCause.SPOOL_FULL: "the platform was away and the node had no more room for them",
    GapCause.ROTATED: "the Engine let its file go before it was read",
    GapCause.DAMAGED: "they could not be read",
}


def line_json(line: Line, about: LogBlock, *, workload: str, node: str) -> str:
    """One `LogLine` of a block; the workload and the node by name."""
    is_gap = line.stream == GAP and about.gap is not None
    shown = {
        "time": time_text(line.time_ns),
        "node": node,
        "workload": workload,
        "instance": about.instance_id,
        "stream": line.stream,
        "message": line.text,
        "number": line.number,
        "source": about.source,
        "project": about.project,
        "level": None if is_gap else level_of(line.text),
        "gap": about.gap.model_dump(mode="json") if is_gap and about.gap is not None else None,
    }
    return orjson.dumps(shown).decode()


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


@lru_cache(maxsize=64)
def _second_text(seconds: int) -> str:
    """Lines come in bursts within one second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
