"""Counting stored lines: whole buckets only, however often a search is interrupted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice import log_records
from lattice.contracts.messages import CountLogs, GapCause, LogCounts, LogGap, QueryLogs
from lattice.errors import Invalid
from lattice.log_matching import LineMatcher
from services.logs import counting
from services.logs.candidates import newest_first
from services.logs.counting import count, query_of
from services.logs.index import FrameHeader, Segment, StoredBlock
from services.logs.listing import listed
from services.logs.query import wanted
from tests.fixtures.log_blocks import START_NS, a_block

Made = tuple[StoredBlock, bytes]


def block(
    moments: list[int], *, source: str = "c0ffee", workload: str = "orders", gap: LogGap | None = None
) -> Made:
    """Lines at these nanoseconds; of no file."""
    records = b"".join(log_records.record(START_NS + at, "stdout", f"{at % 3}\n") for at in moments)
    about = a_block(
        1,
        len(moments),
        source=source,
        first_at_ns=START_NS + moments[0],
        last_at_ns=START_NS + moments[-1],
        gap=gap,
    )
    header = FrameHeader(block=about, workload_name=workload, node_name="attic", stored_at_ns=START_NS)
    return StoredBlock(Segment(Path("x"), "default", "wl-1", 0, 0), 0, len(records), 0, header), records


def ask(made: list[Made], request: CountLogs, is_over: Callable[[], bool] = lambda: False) -> LogCounts:
    query = query_of(request)
    matcher = LineMatcher(query)
    by_last = sorted((each for each, _ in made), key=lambda each: each.header.block.last_at_ns)
    records = {id(each): data for each, data in made}
    chosen = wanted(newest_first([by_last]), matcher)
    return count(
        ((each, partial(records.__getitem__, id(each))) for each in chosen), request, matcher, is_over
    )


def request(*, buckets: int = 10, width_ns: int = 10, by: tuple[str, ...] = ()) -> CountLogs:
    return CountLogs(query=QueryLogs(), origin_ns=START_NS, width_ns=width_ns, buckets=buckets, by=by)


def test_a_bucket_begins_after_its_edge() -> None:
    answer = ask([block([0, 1, 10, 11, 100, 101])], request())
    assert answer.series[0].counts == ((0, 2, 2), (1, 1, 1), (9, 1, 1))


@given(
    st.lists(st.lists(st.integers(1, 100), min_size=1, max_size=8).map(sorted), max_size=8),
    st.integers(1, 40),
)
def test_what_is_interrupted_is_counted_once(blocks: list[list[int]], width_ns: int) -> None:
    made = [block(moments, source=f"c{index}") for index, moments in enumerate(blocks)]
    asked, found = request(buckets=-(-100 // width_ns), width_ns=width_ns), Counter[int]()
    for _ in range(200):
        answer = ask(made, asked, lambda: True)
        for series in answer.series:
            for bucket, lines, _ in series.counts:
                assert answer.complete_from <= bucket < asked.buckets
                found[bucket] += lines
        if not answer.complete_from:
            break
        asked = asked.model_copy(update={"buckets": answer.complete_from})
    assert found == Counter((at - 1) // width_ns for moments in blocks for at in moments)


def test_lines_are_counted_by_labels_and_gaps_are_not() -> None:
    gap = LogGap(cause=GapCause.ROTATED)
    made = [block([3, 4]), block([5], source="b", workload="billing"), block([6, 9], source="c", gap=gap)]
    answer = ask(made, request(by=("workload", "stream", "level")))
    assert {series.labels: series.counts for series in answer.series} == {
        ("orders", "stdout", ""): ((0, 2, 2),),
        ("billing", "stdout", ""): ((0, 1, 1),),
    }
    assert [(each.workload, each.lines, each.blocks) for each in listed(each for each, _ in made).logs] == [
        ("billing", 1, 1), ("orders", 2, 1),
    ]  # fmt: skip
    assert listed((each for each, _ in made), most=1).more


def test_too_many_series_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MOST_SERIES", 1)
    with pytest.raises(Invalid, match="More than 1 series"):
        ask([block([1]), block([2], workload="billing")], request(by=("workload",)))
