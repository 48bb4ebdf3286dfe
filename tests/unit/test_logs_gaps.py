"""Gaps in the store: they cover their numbers, never what is stored already, and are final."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lattice.errors import Invalid
from services.logs.store import Incoming, LogStore
from tests.fixtures.log_blocks import a_block, incoming, numbered_body
from tests.fixtures.log_store import blocks, kept, opened, put

Gaps = list[tuple[int, int, int | None]]


def a_gap(first: int, last: int, *, body: bytes = b"", **gap: Any) -> Incoming:
    about = {"cause": "spool_full", "lines": last - first + 1, "size_bytes": 100} | gap
    return Incoming(a_block(first, last, gap=about), "orders", body)


def gaps(store: LogStore) -> Gaps:
    found = [(block.lines, block.header.block.gap) for block in blocks(store)]
    return sorted((*lines, gap.lines) for lines, gap in found if gap is not None)


def test_a_gap_is_there_after_a_restart(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        put(
            store, incoming(1, 9), a_gap(10, 19), a_gap(20, 20, cause="rotated", lines=None), incoming(21, 25)
        )
    with opened(tmp_path) as store:
        assert gaps(store) == [(10, 19, 10), (20, 20, None)]
        assert kept(store) == {"c0ffee": [*range(1, 10), *range(21, 26)]}


def test_only_what_is_not_stored_is_a_gap(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        put(store, incoming(5, 7), incoming(12, 12))
        (outcome,) = put(store, a_gap(1, 20))
        assert gaps(store) == [(1, 4, 4), (8, 11, 4), (13, 20, 8)]
        part = outcome.stored[0].header.block.gap
        assert part is not None
        assert (part.cause, part.size_bytes) == ("spool_full", None)
        assert put(store, a_gap(1, 20))[0].stored == []
        assert kept(store) == {"c0ffee": [5, 6, 7, 12]}


def test_of_fewer_lines_than_records_no_part_has_more(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        put(store, incoming(5, 7))
        put(store, a_gap(1, 20, lines=6))
        assert gaps(store) == [(1, 4, 4), (8, 20, 6)]


def test_what_comes_late_does_not_fill_a_gap(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        put(store, a_gap(1, 10))
        (late,) = put(store, incoming(1, 12))
        assert [stored.lines for stored in late.stored] == [(11, 12)]
        assert late.error is None


@pytest.mark.parametrize(
    "wrong",
    [a_gap(1, 9, body=numbered_body(1, 9)), a_gap(5, 4), a_gap(-3, 2), a_gap(1, 9, lines=10)],
    ids=["a body", "no number", "below nothing", "more lines than numbers"],
)
def test_a_gap_that_is_none_is_refused(tmp_path: Path, wrong: Incoming) -> None:
    with opened(tmp_path) as store:
        (outcome,) = put(store, wrong)
        assert isinstance(outcome.error, Invalid)
        assert blocks(store) == []
