"""Searching stored blocks: the order of several workloads, pages, and searches that take too long."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice import log_records
from lattice.contracts.messages import GapCause, LogGap, LogLine, LogLines, LogPlace, QueryLogs
from lattice.log_matching import LineMatcher
from services.gateway.log_lines import json_lines
from services.logs.candidates import newest_first
from services.logs.index import FrameHeader, Segment, StoredBlock
from services.logs.query import search, wanted
from tests.fixtures.log_blocks import START_NS, a_block, read_lines

Made = tuple[StoredBlock, bytes]


def block(first: int, *moments: int, source: str = "c0ffee", text: str = "line", **changes: Any) -> Made:
    """Lines at these moments (µs), numbered from `first` on; of no file."""
    pieces = [log_records.record(START_NS + 1000 * at, "stdout", f"{text} {at}\n") for at in moments]
    about = a_block(
        first, first + len(moments) - 1, source=source, first_at_ns=START_NS + 1000 * moments[0], last_at_ns=START_NS + 1000 * moments[-1], **changes
    )  # fmt: skip
    header = FrameHeader(block=about, workload_name="orders", node_name="attic", stored_at_ns=START_NS)
    segment = Segment(Path("x"), "default", about.workload_id, 0, 0)
    return StoredBlock(segment, 0, 0, 0, header), b"".join(pieces)


def ask(made: list[Made], is_over: Callable[[], bool] = lambda: False, **asked: Any) -> LogLines:
    query = QueryLogs(**asked)
    matcher = LineMatcher(query)
    by_last = sorted((each for each, _ in made), key=lambda each: each.header.block.last_at_ns)
    records = {id(each): data for each, data in made}
    chosen = wanted(newest_first([by_last]), matcher)
    found = ((each, partial(records.__getitem__, id(each))) for each in chosen)
    return search(found, query, matcher, is_over)


def pages(made: list[Made], is_over: Callable[[], bool] = lambda: False, **asked: Any) -> Iterator[LogLines]:
    """Every page, the newest first."""
    place: LogPlace | None = None
    for _ in range(1000):
        answer = ask(made, is_over, before=place, **asked)
        yield answer
        place = answer.next
        if place is None:
            return
    raise AssertionError("the pages do not end")


def told(answer: LogLines) -> list[str]:
    return [line.message for line in read_lines(answer)]


def test_a_line_says_whose_it_is_and_how_grave() -> None:
    made = block(1, 5, text="ERROR: no")
    found = read_lines(ask([made], levels=True))
    assert read_lines(ask([made]))[0].level is None
    assert found == [
        LogLine.model_validate(
            {
                "time": "2030-03-17T17:46:40.000005Z", "node": "attic", "workload": "orders", "instance": "in-1", "stream": "stdout",
                "message": "ERROR: no 5", "number": 1, "source": "c0ffee", "project": "default", "level": "error",
            }
        )
    ]  # fmt: skip


def test_a_line_has_every_field_of_the_contract() -> None:
    (text,) = json_lines(ask([block(1, 5)])).splitlines()
    assert json.loads(text).keys() == LogLine.model_fields.keys()


def test_lines_of_several_containers_are_in_the_order_of_time() -> None:
    made = [block(1, 1, 4, 9), block(1, 2, 3, 10, source="b", instance_id="in-2"), block(4, 11)]
    assert told(ask(made)) == [f"line {n}" for n in (1, 2, 3, 4, 9, 10, 11)]
    assert told(ask(made, limit=3)) == ["line 9", "line 10", "line 11"]
    assert told(ask(made, instance_ids=("in-2",))) == ["line 2", "line 3", "line 10"]
    assert told(ask(made, source="b", limit=1)) == ["line 10"]


def test_nodes_are_asked_for_by_name_or_id() -> None:
    made = [block(1, 1), block(1, 2, source="b", node_id="nd-b")]
    assert told(ask(made, node_ids=("nd-b",))) == ["line 2"]
    assert told(ask(made, node_ids=("attic",))) == ["line 1", "line 2"]
    assert told(ask(made, node_ids=("elsewhere",))) == []


moments = st.lists(st.integers(0, 30), min_size=1, max_size=6).map(sorted)
logs = st.lists(st.lists(moments, max_size=4), min_size=1, max_size=4)


@given(logs, st.integers(1, 7), st.integers(0, 3))
def test_pages_together_have_every_line_once(
    containers: list[list[list[int]]], limit: int, patience: int
) -> None:
    """Whatever the blocks, the page's size, and after how many blocks a search has taken too long."""
    made = []
    for number, runs in enumerate(containers):
        flat, at = sorted(moment for run in runs for moment in run), 0
        for run in runs:
            part = flat[at : at + len(run)]
            made.append(block(at + 1, *part, source=f"c{number}"))
            at += len(run)
    asked = 0

    def is_over() -> bool:
        nonlocal asked
        asked += 1
        return patience > 0 and asked % patience == 0

    answers = list(pages(made, is_over, limit=limit))
    found = [line for answer in reversed(answers) for line in read_lines(answer)]
    keys = [(line.time, line.source, line.number) for line in found]
    assert keys == sorted(keys) and len(keys) == len(set(keys)) == sum(
        len(run) for runs in containers for run in runs
    )
    assert all(answer.count <= limit for answer in answers)


def test_a_search_that_took_its_time_says_where_to_go_on() -> None:
    made = [block(n, 10 * n, 10 * n + 1) for n in range(1, 6)]
    answer = ask(made, lambda: True, grep="nothing has this")
    assert answer.count == 0 and answer.next == LogPlace(time_ns=START_NS + 41_001)
    assert told(ask(made, before=answer.next))[-1] == "line 41"


def test_where_lines_are_missing_that_is_told_whatever_is_searched_for() -> None:
    gap = LogGap(cause=GapCause.SPOOL_FULL, lines=120, size_bytes=9_000)
    made = [block(1, 1), block(2, 5, 8, gap=gap), block(122, 9)]
    found = read_lines(ask(made, grep="line"))
    assert [line.stream for line in found] == ["stdout", "gap", "stdout"]
    assert found[1].message.startswith("120 lines are missing until 2030-03-17T17:46:40.000008Z")
    assert found[1].gap == gap
    unknown = block(2, 5, 8, gap=LogGap(cause=GapCause.ROTATED))
    assert told(ask([unknown]))[0].startswith("lines are missing until")


@pytest.mark.parametrize("asked", [{"since_ns": START_NS + 6_000}, {"until_ns": START_NS + 4_000}])
def test_a_gap_of_another_time_is_not_told(asked: dict[str, Any]) -> None:
    assert told(ask([block(2, 5, gap=LogGap(cause=GapCause.ROTATED))], **asked)) == []
