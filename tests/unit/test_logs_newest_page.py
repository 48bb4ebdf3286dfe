"""The newest lines, written without taking records apart, are what a search would answer; and where they might not be, nobody is answered."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice import log_records
from lattice.contracts.messages import GapCause, LogGap, LogLines, LogPlace, QueryLogs
from lattice.log_matching import LineMatcher
from lattice.log_records import record
from services.gateway.log_lines import json_lines
from services.logs.candidates import newest_first
from services.logs.newest_page import newest_page
from services.logs.query import wanted
from services.logs.segments import Damaged
from tests.fixtures.log_blocks import START_NS
from tests.unit.test_logs_query import Made, ask, block, told


def page(made: list[Made], **asked: Any) -> LogLines | None:
    matcher = LineMatcher(QueryLogs(**asked))
    by_last = sorted((each for each, _ in made), key=lambda each: each.header.block.last_at_ns)
    records = {id(each): data for each, data in made}
    return newest_page(wanted(newest_first([by_last]), matcher), matcher, lambda each: records[id(each)])


def of_records(*records: bytes) -> Made:
    """A block of these, whatever they are."""
    made, _ = block(1, *range(1, len(records) + 1))
    return made, b"".join(records)


def line(text: str, at_us: int = 1) -> bytes:
    return record(START_NS + 1000 * at_us, "stderr", text + "\n")


def test_lines_of_one_container_need_no_search() -> None:
    made = [block(1, 1, 2, 3), block(4, 5, 6), block(6, 7, 8)]
    found = page(made, limit=4)
    assert found is not None and told(found) == ["line 5", "line 6", "line 7", "line 8"]
    assert found == ask(made, limit=4) and found.next is not None
    assert page(made, limit=7) == ask(made, limit=7) and page(made, limit=9) == ask(made, limit=9)
    assert page([]) == LogLines(packed=log_records.pack(b""), count=0)


moments = st.lists(st.integers(0, 12), min_size=1, max_size=5)
containers = st.lists(st.lists(moments, max_size=3), min_size=1, max_size=3)


@given(containers, st.integers(1, 6))
def test_what_is_answered_is_what_a_search_answers(runs: list[list[list[int]]], limit: int) -> None:
    """Also where containers write at the same time, and clocks are set back."""
    made = []
    for number, blocks in enumerate(runs):
        first = 1
        for part in blocks:
            made.append(block(first, *part, source=f"c{number}"))
            first += len(part)
    found = page(made, limit=limit)
    assert found is None or found == ask(made, limit=limit)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=4))
def test_every_text_is_shown_as_a_search_shows_it(texts: list[str]) -> None:
    made = [of_records(*(line(text, at) for at, text in enumerate(texts, 1)))]
    assert page(made) == ask(made) is not None


@pytest.mark.parametrize("text", ["<b>\t\x1b[31mred & \u2028\x00", 'a "b" \\n \\', "ünï ☃ 𝄞", "", "\r"])
def test_what_the_engine_escapes_is_shown_as_it_was_written(text: str) -> None:
    found = page([of_records(line(text))])
    assert found is not None and told(found) == [text]


@pytest.mark.parametrize(
    "odd",
    [
        b'{"log":"a","node":"other","message":"forged\\n","stream":"stdout","time":"2030-03-17T17:46:40Z"}\n',
        b'{"log":"a\\n","stream":"stdout","time":"2030-03-17T17:46:40Z","x":1}\n',
        b'x{"log":"a\\n","stream":"stdout","time":"2030-03-17T17:46:40Z"}\n',
        b'{"log":"a\\n","stream":"stdout","time":"2030-13-17T17:46:40Z"}\n',
        b'{"log":"\\ud800\\n","stream":"stdout","time":"2030-03-17T17:46:40Z"}\n',
        b'{"log":"\xff\\n","stream":"stdout","time":"2030-03-17T17:46:40Z"}\n',
        b'{"log":"a piece","stream":"stdout","time":"2030-03-17T17:46:40Z"}\n',
        b'{"log":"an escaped end\\\\n","stream":"stdout","time":"2030-03-17T17:46:40Z"}\n',
        b"\n",
    ],
)
def test_what_the_engine_does_not_write_is_left_to_the_search(odd: bytes) -> None:
    assert page([of_records(odd)]) is None
    assert page([of_records(odd, line("whole"))]) is None


def test_whatever_is_not_simple_is_left_to_the_search() -> None:
    made = [block(1, 1, 2, 3), block(4, 5, 6)]
    for asked in (
        {"grep": "line"},
        {"levels": True},
        {"since_ns": 1},
        {"before": LogPlace(time_ns=START_NS + 10**9)},
        {"limit": 5000},
    ):
        assert page(made, **asked) is None
    beside = block(1, 2, source="b")
    assert page([*made, beside], limit=4) is None
    assert page([*made, beside], limit=2) is not None, "it is older than all that is wanted"
    assert page([block(1, 1, pieces=1)]) is None
    elsewhere, records = block(1, 1)
    elsewhere.segment.remote = True
    assert page([(elsewhere, records)]) is None
    gap, _ = block(4, 7, gap=LogGap(cause=GapCause.ROTATED))
    assert page([*made, (gap, b"")]) is None


def test_a_block_that_cannot_be_read_is_left_to_the_search() -> None:
    made, _ = block(1, 1)

    def damaged(_: object) -> bytes:
        raise Damaged("the block is damaged")

    assert newest_page([made], LineMatcher(QueryLogs()), damaged) is None


def test_an_answer_that_would_be_too_large_is_left_to_the_search() -> None:
    large = [block(1, *range(1, 200), text="☃" * 2000)]
    assert page(large, limit=199) is None
    found = ask(large, limit=199)
    assert 0 < found.count < 199 and found.next is not None
    assert len(json_lines(found)) < 700_000
