"""LogQL is understood, or refused with a place; nothing else happens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice.contracts.messages import LabelOp, LabelTest, LineFormat, TextOp, TextTest
from lattice.errors import Invalid
from services.gateway.logql import Constant, Counting, LogSearch, parse, parse_search

_PIECES = st.sampled_from(
    ["{", "}", "(", ")", "[", "]", "|", "|=", "|~", "!=", "!~", "=~", "=", ">=", ",", "+", "/", '"a"', "`b`", "a", "sum", "by", "or", "and",
     "count_over_time", "rate", "vector", "json", "logfmt", "drop", "level", "5m", "1", "0", "#x\n", " ", '{a="b"}']
)  # fmt: skip


def a_test(label: str, op: str, value: str) -> LabelTest:
    return LabelTest(label=label, op=LabelOp(op), value=value)


def test_a_selector_and_its_filters() -> None:
    found = parse(
        '{workload="shop", node!="attic", level=~`warn|error`, stream!~"x"} |= "a" != "b" |~ `c\\d` !~ "e" or "f"'
    )
    assert found == LogSearch(
        labels=[
            (a_test("workload", "=", "shop"),),
            (a_test("node", "!=", "attic"),),
            (a_test("level", "=~", "warn|error"),),
            (a_test("stream", "!~", "x"),),
        ],
        texts=[
            TextTest(op=TextOp.HAS, texts=("a",)),
            TextTest(op=TextOp.LACKS, texts=("b",)),
            TextTest(op=TextOp.FINDS, texts=("c\\d",)),
            TextTest(op=TextOp.FINDS_NOT, texts=("e", "f")),
        ],
    )


def test_fields_of_lines() -> None:
    found = parse_search(
        '{} | json | logfmt | status >= 500 | a="1" or b="2" | c="3", d!="4" and e==5 | drop x, __error__ | __error__=""'
    )
    assert found.formats == [LineFormat.JSON, LineFormat.LOGFMT]
    assert found.dropped == ["x", "__error__"]
    assert found.labels == [
        (a_test("status", ">=", "500"),),
        (a_test("a", "=", "1"), a_test("b", "=", "2")),
        (a_test("c", "=", "3"),),
        (a_test("d", "!=", "4"),),
        (a_test("e", "=", "5"),),
    ]


@pytest.mark.parametrize(
    ("text", "function", "window_s", "by"),
    [
        ('count_over_time({a="b"}[1m])', "count_over_time", 60, None),
        ('sum(rate({a="b"} |= "x" [1h30m]))', "rate", 5400, ()),
        ('sum by (level, detected_level) (count_over_time({a="b"} | drop __error__ [1500ms]))', "count_over_time", 1.5, ("level", "detected_level")),
        ('sum(bytes_over_time({a="b"} | json [2d])) by (status)', "bytes_over_time", 172_800, ("status",)),
        ('(sum by (level) (bytes_rate({a="b"}[1s])))', "bytes_rate", 1, ("level",)),
    ],
)  # fmt: skip
def test_counts(text: str, function: str, window_s: float, by: tuple[str, ...] | None) -> None:
    found = parse(text)
    assert isinstance(found, Counting)
    assert (found.function, found.window_ns, found.by) == (function, int(window_s * 10**9), by)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("vector(1)+vector(1)", 2),
        ("vector(1) + 2 * vector(3)", 7),
        ("(vector(8) - 2) / 3", 2),
        ("1", 1),
        ("((1))", 1),
    ],
)
def test_numbers(text: str, value: float) -> None:
    assert parse(text) == Constant(value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1, col 1: at the end"),
        ('{a="b"', r"col 7: at the end: '\}' is expected"),
        ('{a>"b"}', "col 3.*write =, !="),
        ('{a="b"} | line_format "x"', "col 11.*the stage 'line_format' is not supported"),
        ('{a="b"}\n | unwrap x', "line 2, col 4"),
        ('{a="b"} | json x="y"', "takes no arguments"),
        ('{a="b"} !~ ""', "nothing would be left"),
        ('{a="b"} | a="1" or b="2" and c="3"', "mixed"),
        ('sum({a="b"})', "sum takes one of"),
        ('sum without (a) (rate({a="b"}[1m]))', "without"),
        ('topk(5, rate({a="b"}[1m]))', "'topk' is not supported"),
        ('rate({a="b"}[0s])', "no length"),
        ('rate({a="b"}[1m] offset 5m)', r"'\)' is expected"),
        ('rate({a="b"}[1m]) > 5', "'>' is not supported here"),
        ("1/0", "divides by zero"),
        ("(" * 200 + "1", "nested too deeply"),
        ('{a="b"} ?', r"col 9: '\?'"),
        ("{" + "a" * 6000, "longer than 5000"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_place(text: str, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        parse(text)


@given(st.one_of(st.text(), st.lists(_PIECES, max_size=30).map("".join)))
def test_any_text_is_understood_or_refused(text: str) -> None:
    try:
        parse(text)
    except Invalid as error:
        assert "parse error at line" in error.detail or "longer than" in error.detail


def test_strings_have_escapes_or_none() -> None:
    found = parse_search(r'{a="x\n\"\\é"} |= `\n"`')
    assert found.labels[0][0].value == 'x\n"\\é'
    assert found.texts[0].texts == ('\\n"',)
