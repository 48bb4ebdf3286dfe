"""Which lines are wanted."""

from __future__ import annotations

import time
from typing import Any

import pytest

from lattice.contracts.messages import QueryLogs
from lattice.errors import Invalid
from lattice.log_matching import LineMatcher
from lattice.log_records import Line

LINE = Line(7, 1_000, "stderr", '{"level":"error","status":500,"msg":"disk full"}')


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({}, True),
        ({"grep": "disk"}, True),
        ({"grep": "Disk"}, False),
        ({"regex": r"disk\s+f"}, True),
        ({"regex": r"(?i)DISK"}, True),
        ({"regex": r"^disk"}, False),
        ({"level": "warn"}, True),
        ({"level": "fatal"}, False),
        ({"stream": "stderr"}, True),
        ({"stream": "stdout"}, False),
        ({"fields": {"status": "500"}}, True),
        ({"fields": {"status": "500", "msg": "other"}}, False),
        ({"since_ns": 1_000, "until_ns": 1_000}, True),
        ({"since_ns": 1_001}, False),
        ({"until_ns": 999}, False),
        ({"grep": "disk", "level": "error", "fields": {"status": "500"}, "regex": "full"}, True),
    ],
)
def test_all_that_is_asked_must_hold(asked: dict[str, Any], wanted: bool) -> None:
    assert LineMatcher(QueryLogs(**asked)).matches(LINE) is wanted


@pytest.mark.parametrize("expression", ["(", "[a", "a{2,1}", r"\q", "(?=ahead)", r"(a)\1", "a{1001}"])
def test_what_is_no_expression_is_refused(expression: str) -> None:
    with pytest.raises(Invalid, match="no regular expression"):
        LineMatcher(QueryLogs(regex=expression))


def test_no_expression_takes_for_ever() -> None:
    """Backtracking would need longer than the universe has been there."""
    began_s = time.monotonic()
    assert not LineMatcher(QueryLogs(regex="(a|aa)+$")).matches(Line(1, 1, "stdout", "a" * 60_000 + "b"))
    assert time.monotonic() - began_s < 5


def test_blocks_of_another_time_need_not_be_read() -> None:
    matcher = LineMatcher(QueryLogs(since_ns=100, until_ns=200))
    assert matcher.may_match_between(50, 100) and matcher.may_match_between(200, 300)
    assert not matcher.may_match_between(50, 99) and not matcher.may_match_between(201, 300)
