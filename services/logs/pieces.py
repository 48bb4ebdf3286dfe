"""What of a block that arrived is new, as blocks to be stored.  Pure.

A gap is final: it covers its numbers like a block, so records that arrive for them later are dropped.  A node makes a gap only of what it
has no more, and sends in order; that its lost records come after all is not worth a second kind of number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lattice import log_records
from lattice.contracts.messages import LogBlock
from lattice.errors import Invalid
from lattice.number_ranges import Range


@dataclass(frozen=True, slots=True, eq=False)
class Incoming:
    """A block that arrived, of a workload that is known by this name."""

    block: LogBlock
    workload_name: str
    body: bytes
    node_name: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A part of an incoming block that is not stored yet."""

    incoming: Incoming
    block: LogBlock
    body: bytes


def pieces(incoming: Incoming, new: Iterable[Range], records: bytes) -> Iterator[Piece]:
    """The block's parts that are new; `records` is what `records_of` said."""
    for lines in new:
        if lines == (incoming.block.first, incoming.block.last):
            yield Piece(incoming, incoming.block, incoming.body)
        elif incoming.block.gap is not None:
            yield Piece(incoming, _gap_of(incoming.block, lines), b"")
        else:
            yield _cut(incoming, lines, records)


def records_of(incoming: Incoming) -> bytes:
    """A block's records, none of a gap.  Raises Invalid for one that is not what its description says."""
    block = incoming.block
    if block.gap is None:
        return check(incoming.body, block.first, block.last)
    _check_gap(block, incoming.body)
    return b""


def check(body: bytes, first: int, last: int) -> bytes:
    """The records of a body.  Raises Invalid unless they are exactly those that its description numbers."""
    records = log_records.unpack(body)
    found = log_records.count(records)
    if first < 0 or found == 0 or found != last - first + 1 or not records.endswith(b"\n"):
        raise Invalid(f"The block holds {found} whole records and is said to hold {first} to {last}.")
    return records


def _check_gap(block: LogBlock, body: bytes) -> None:
    numbers = block.last - block.first + 1
    if body or block.first < 0 or numbers < 1:
        raise Invalid("A gap has no body, and at least one number.")
    if block.gap is not None and block.gap.lines is not None and block.gap.lines > numbers:
        raise Invalid(f"The gap has {numbers} numbers and is said to be of {block.gap.lines} lines.")


def _gap_of(block: LogBlock, lines: Range) -> LogBlock:
    """A part of a gap: how long it was in the Engine's file is not known of a part."""
    assert block.gap is not None, "asked for gaps only"
    known = block.gap.lines
    most = None if known is None else min(known, lines[1] - lines[0] + 1)
    part = block.gap.model_copy(update={"lines": most, "size_bytes": None})
    return block.model_copy(update={"first": lines[0], "last": lines[1], "gap": part})


def _cut(incoming: Incoming, lines: Range, records: bytes) -> Piece:
    kept = log_records.cut(records, incoming.block.first, lines)
    first_at_ns, last_at_ns = log_records.first_and_last_ns(kept)
    changes = {
        "first": lines[0], "last": lines[1], "first_at_ns": first_at_ns, "last_at_ns": last_at_ns,
        "pieces": lines[1] - lines[0] + 1 - log_records.count_lines(kept),
    }  # fmt: skip
    return Piece(incoming, incoming.block.model_copy(update=changes), log_records.pack(kept))
