"""Which lines are wanted."""

from __future__ import annotations

import time
from typing import Any

import pytest

from lattice.contracts.messages import LabelOp, LabelTest, LineFormat, QueryLogs, TextOp, TextTest
from lattice.errors import Invalid
from lattice.log_fields import fields_as
from lattice.log_labels import Place
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


def label(name: str, op: str, value: str) -> LabelTest:
    return LabelTest(label=name, op=LabelOp(op), value=value)


@pytest.mark.parametrize(
    ("tests", "wanted"),
    [
        ([("level", "=", "error")], True),
        ([("detected_level", "=~", "warn|error")], True),
        ([("level", "=~", "err")], False),  # an expression fits the whole or not at all
        ([("level", "=", "info"), ("stream", "=", "stderr")], True),
        ([("status", ">=", "500"), ("status", "<", "0")], True),
        ([("status", ">", "500")], False),
        ([("msg", ">", "1")], False),
        ([("absent", "=", "")], True),
        ([("absent", "!=", "x")], True),
        ([("msg", "!~", "disk.*")], False),
    ],
)
def test_of_a_group_of_labels_one_must_hold(tests: list[tuple[str, str, str]], wanted: bool) -> None:
    query = QueryLogs(labels=(tuple(label(*each) for each in tests),), formats=(LineFormat.JSON,))
    matcher = LineMatcher(query)
    assert matcher.matches(LINE) is wanted and not matcher.wants_all


def test_a_container_is_left_out_by_its_labels() -> None:
    place = Place("default", "shop", "attic", "in-1")
    for tests, wanted in (
        ([("workload", "=~", "sh.*")], True),
        ([("service_name", "!=", "shop")], False),
        ([("node", "=", "cellar"), ("instance", "=", "in-1")], True),
        ([("project", "=", "other")], False),
    ):
        matcher = LineMatcher(QueryLogs(labels=(tuple(label(*each) for each in tests),)))
        assert matcher.may_match_from(place) is wanted
        assert matcher.wants_all


@pytest.mark.parametrize(
    ("op", "texts", "wanted"),
    [("|=", ("x", "disk"), True), ("|=", ("x",), False), ("!=", ("x", "y"), True), ("!=", ("x", "disk"), False),
     ("|~", ("^x", "full"), True), ("!~", ("^x", "f.ll"), False)],
)  # fmt: skip
def test_texts_that_are_there_or_not(op: str, texts: tuple[str, ...], wanted: bool) -> None:
    assert LineMatcher(QueryLogs(texts=(TextTest(op=TextOp(op), texts=texts),))).matches(LINE) is wanted


def test_fields_are_read_as_flat_names() -> None:
    both = (LineFormat.JSON, LineFormat.LOGFMT)
    assert fields_as('{"a":{"b-c":1,"d":[1]},"e":null,"f":true,"1":"x"}', both) == {
        "a_b_c": "1",
        "f": "true",
        "_1": "x",
    }
    assert fields_as(r'a=1 b="x \"y\"\n" c= d', both) == {"a": "1", "b": 'x "y"\n', "c": ""}
    assert len(fields_as(" ".join(f"k{n}=v" for n in range(500)), both)) == 100
