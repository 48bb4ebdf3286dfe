"""Rewriting closed segments: the same lines in fewer blocks, whatever happens in between."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice.contracts.messages import GapCause, LogGap
from services.logs import compacting, segments
from services.logs.compacting import Closed
from services.logs.index import Segment, StoredBlock
from services.logs.store import Incoming, Limits, LogStore
from tests.fixtures.log_blocks import START_NS, a_block, incoming, read_lines
from tests.fixtures.log_store import ask, put

SMALL = Limits(segment_bytes=1, segment_age_s=10**9)  # a segment for each batch
GAP = LogGap(cause=GapCause.ROTATED, lines=5)


def told(store: LogStore, **asked: Any) -> list[tuple[str, int, str]]:
    return [
        (line.source, line.number, line.message) for line in read_lines(ask(store, limit=10_000, **asked))
    ]


def blocks_in(store: LogStore, segment: Segment) -> list[StoredBlock]:
    return [block for block in store.index.blocks("default", "wl-1") if block.segment is segment]


def rewrite(store: LogStore, *, old_file_stays: bool = False) -> Segment | None:
    """As the loop does, once."""
    segment = Closed(10**9).choose(store.index, START_NS)
    if segment is None:
        return None
    new, blocks = compacting.pack(segment, blocks_in(store, segment))
    assert store.index.replace(segment, new, blocks)
    if not old_file_stays:
        segment.path.unlink()
    return new


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b"]), st.integers(1, 4), st.booleans()), min_size=1, max_size=25
    ),
    st.integers(1, 6),
)
def test_the_same_lines_in_fewer_blocks(
    tmp_path_factory: pytest.TempPathFactory, runs: list[tuple[str, int, bool]], batch: int
) -> None:
    folder = tmp_path_factory.mktemp("logs")
    store, next_of, coming = LogStore(folder, SMALL), {"a": 1, "b": 1}, list[Incoming]()
    try:
        for source, count, is_gap in runs:
            first, last = next_of[source], next_of[source] + count - 1
            next_of[source] = last + 1
            gap = GAP.model_copy(update={"lines": count}) if is_gap else None
            block = incoming(first, last, source=source)
            coming.append(
                Incoming(a_block(first, last, source=source, gap=gap), "orders", b"") if is_gap else block
            )
        for at in range(0, len(coming), batch):
            put(store, *coming[at : at + batch], now_ns=START_NS + at)
        before = told(store)
        while (new := rewrite(store)) is not None:
            assert len(blocks_in(store, new)) <= batch
        assert told(store) == before
    finally:
        store.close()
    again = LogStore(folder, SMALL)
    try:
        assert told(again) == before and again.damage == []
        assert [each for each, _ in again.index.segments() if not each.packed] == [
            each for each, newest in again.index.segments() if newest and not each.packed
        ]
    finally:
        again.close()
    shutil.rmtree(folder)


@pytest.fixture
def closed_store(tmp_path: Path) -> LogStore:
    """Two hundred blocks of a line each in a closed segment, and a growing one."""
    store = LogStore(tmp_path / "logs", SMALL)
    put(store, *(incoming(number, number) for number in range(1, 201)), now_ns=START_NS)
    put(store, incoming(201, 201), now_ns=START_NS + 1)
    return store


def test_many_small_blocks_become_one_that_is_smaller(closed_store: LogStore) -> None:
    (old, _), (growing, _) = closed_store.index.segments()
    new = rewrite(closed_store)
    assert new is not None and new.size_bytes < old.size_bytes / 10
    (block,) = blocks_in(closed_store, new)
    assert block.lines == (1, 200)
    assert rewrite(closed_store) is None, "one that grows is left alone"
    put(closed_store, incoming(202, 202), now_ns=START_NS + 2)
    assert len(told(closed_store)) == 202
    assert growing in [segment for segment, _ in closed_store.index.segments()]
    closed_store.close()


def test_what_is_asked_for_as_a_word_is_looked_for_where_it_may_be(closed_store: LogStore) -> None:
    rewrite(closed_store)
    reads: list[StoredBlock] = []

    def counted(block: StoredBlock) -> bytes:
        reads.append(block)
        return segments.read_body(block)

    assert [line.number for line in read_lines(ask(closed_store, counted, word="line 150"))] == [150]
    assert [line.number for line in read_lines(ask(closed_store, counted, word="15"))] == [15]
    reads.clear()
    assert ask(closed_store, counted, word="nowhere").count == 0
    assert len(reads) == 1, "only the growing segment, which has no filter"
    closed_store.close()


@pytest.mark.parametrize("torn", ["half of the new file", "both files"])
def test_a_kill_in_between_shows_nothing_twice(closed_store: LogStore, tmp_path: Path, torn: str) -> None:
    before = told(closed_store)
    segment = Closed(10**9).choose(closed_store.index, START_NS)
    assert segment is not None
    new, _ = compacting.pack(segment, blocks_in(closed_store, segment))
    if torn == "half of the new file":
        half = new.path.read_bytes()[:-7]
        new.path.unlink()
        new.path.with_name(new.path.name + segments.UNFINISHED_SUFFIX).write_bytes(half)
    closed_store.close()
    again = LogStore(tmp_path / "logs", SMALL)
    assert told(again) == before
    assert len(list((tmp_path / "logs").rglob("*.seg*"))) == 2
    again.close()


def test_a_segment_that_was_let_go_meanwhile_does_not_come_back(closed_store: LogStore) -> None:
    segment = Closed(10**9).choose(closed_store.index, START_NS)
    assert segment is not None
    packed = compacting.pack(segment, blocks_in(closed_store, segment))
    closed_store.index.remove(segment)
    assert not closed_store.index.replace(segment, *packed)
    assert [number for _, number, _ in told(closed_store)] == [201]
    closed_store.close()


def test_an_old_segment_of_a_silent_workload_is_closed(closed_store: LogStore) -> None:
    rewrite(closed_store)
    chosen = Closed(60).choose(closed_store.index, START_NS + 61 * 10**9)
    assert chosen is not None and not chosen.packed
    closed_store.close()
