"""A part of a log as it goes into the spool: whole records, packed, with their numbers and times; or a gap.  Pure.

Of all the records only the first and the last are looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agent.log_place import LogPosition
from lattice import log_records
from lattice.contracts.messages import GapCause, LogBlock, LogGap
from lattice.contracts.nouns import ContainerKey
from lattice.errors import Invalid

CHUNK_BYTES = 512 * 1024
_ENDS_A_LINE = b'\\n","stream":"'
TAIL_LINES, _TAIL_WIDTH, _TAIL_BYTES = 20, 256, 32 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSource:
    """Whose log it is."""

    node_id: str
    container_id: str
    key: ContainerKey
    instance_id: str
    project: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Records `first` … `last`, and the position after them."""

    first: int
    last: int
    first_at_ns: int
    last_at_ns: int
    pieces: int = 0
    size_bytes: int = 0
    body: bytes = b""
    gap: LogGap | None = None
    position: LogPosition


def end_of_records(data: bytes) -> int:
    """How much of the data is whole records.  Where more is to come at once, the end of a line is preferred."""
    end = data.rfind(b"\n") + 1
    if len(data) < CHUNK_BYTES:
        return end
    line = data.rfind(_ENDS_A_LINE, 0, end)
    return data.find(b"\n", line) + 1 if line != -1 else end


def chunk_of(records: bytes, before: LogPosition, place: dict[str, Any]) -> Chunk:
    """A chunk of records that come after a position; `place` is where they end."""
    first_ns, last_ns = _times(records, before.last_ns)
    count = log_records.count(records)
    last = before.number + count
    return Chunk(
        first=before.number + 1,
        last=last,
        first_at_ns=first_ns,
        last_at_ns=last_ns,
        pieces=count - log_records.count_lines(records),
        size_bytes=len(records),
        body=log_records.pack(records),
        position=before.model_copy(
            update={"number": last, "last_ns": max(before.last_ns, first_ns, last_ns), **place}
        ),
    )


def gap_chunk(
    cause: GapCause, before: LogPosition, until_ns: int, *, size_bytes: int | None = None, far: bool = False
) -> Chunk:
    """A gap after a position, of unknown length, and so with one number; `far` leaves all numbers out that may have been used."""
    until_ns = max(before.last_ns, until_ns)
    number = max(before.number + 1, until_ns // 1000 if far else 0)
    return Chunk(
        first=number,
        last=number,
        first_at_ns=before.last_ns or until_ns,
        last_at_ns=until_ns,
        gap=LogGap(cause=cause, size_bytes=size_bytes),
        position=before.model_copy(update={"number": number}),
    )


def block_of(source: LogSource, chunk: Chunk) -> LogBlock:
    """What is told of a chunk."""
    return LogBlock(
        node_id=source.node_id,
        workload_id=source.key.workload_id,
        instance_id=source.instance_id,
        project=source.project,
        slot=source.key.slot,
        epoch=source.key.epoch,
        source=source.container_id,
        first=chunk.first,
        last=chunk.last,
        first_at_ns=chunk.first_at_ns,
        last_at_ns=chunk.last_at_ns,
        pieces=chunk.pieces,
        gap=chunk.gap,
    )


def first_ns(records: bytes, otherwise_ns: int) -> int:
    """When the first record was written."""
    return _time_or(records[: records.find(b"\n")], otherwise_ns)


def offset_after(records: bytes, time_ns: int) -> int | None:
    """Where the first record begins that is newer."""
    at = 0
    for record in log_records.split(records) if records else ():
        if _time_or(record, time_ns) > time_ns:
            return at
        at += len(record) + 1
    return None


def tail_of(before: bytes, records: bytes) -> bytes:
    """The last few records, whole, of which the last lines are made when somebody asks."""
    is_cut = len(before) + len(records) > _TAIL_BYTES
    parts = (before + records[-_TAIL_BYTES:])[-_TAIL_BYTES:].rsplit(b"\n", TAIL_LINES + 1)
    return b"\n".join(parts[1:] if is_cut or len(parts) == TAIL_LINES + 2 else parts)


def tail_lines(tail: bytes) -> tuple[str, ...]:
    """The last lines, shortened."""
    lines = [line.text[:_TAIL_WIDTH] for line in log_records.lines(tail, 1)] if tail else []
    return tuple(lines[-TAIL_LINES:])


def _times(records: bytes, otherwise_ns: int) -> tuple[int, int]:
    """Of the first and the last record; one that the Engine could not finish has none, and takes that of the one before."""
    start = first_ns(records, otherwise_ns)
    last = records[records.rfind(b"\n", 0, -1) + 1 : -1]
    return start, _time_or(last, start)


def _time_or(record: bytes, otherwise_ns: int) -> int:
    try:
        return log_records.time_ns_of(record)
    except Invalid:
        return otherwise_ns
