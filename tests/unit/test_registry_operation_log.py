"""The log of an operation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.registry.operation_log import MOST_LINES, last_words, with_line

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def log_of(*texts: str) -> list[tuple[str, str]]:
    lines: list[dict[str, str]] = []
    for number, text in enumerate(texts):
        lines = with_line(lines, NOW + timedelta(seconds=number), text)
    return [(line["at"][17:19], line["text"]) for line in lines]


def test_each_thing_is_said_once_with_the_moment_it_began() -> None:
    assert log_of("0/2 ready; pulling web:7: 10 %", "0/2 ready; pulling web:7: 90 %", "0/2 ready; starting", "1/2 ready; starting", "succeeded") == [
        ("00", "0/2 ready; pulling web:7: 90 %"),
        ("02", "1/2 ready; starting"),
        ("04", "succeeded"),
    ]  # fmt: skip


def test_what_says_nothing_is_no_line() -> None:
    assert log_of("", "starting", "") == [("01", "starting")]


def test_the_end_says_why() -> None:
    assert last_words("failed", {"detail": "no node fits"}) == "failed: no node fits"
    assert last_words("succeeded", None) == "succeeded"


@given(st.lists(st.sampled_from(["a", "b", "c 1", "c 2"]), max_size=300))
def test_a_log_is_bounded_and_keeps_its_beginning_and_its_end(texts: list[str]) -> None:
    found = log_of(*texts)
    assert len(found) <= MOST_LINES
    if texts:
        assert found[-1][1] == texts[-1]
        assert found[0][0] == "00"
