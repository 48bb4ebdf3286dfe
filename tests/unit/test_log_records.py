"""Records as the Engine writes them: what is refused, how lines come out of them, and what a search finds."""

from __future__ import annotations

import json

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from lattice import log_records
from lattice.errors import Invalid
from services.logs.store import check
from tests.fixtures.log_blocks import SECOND_NS, START_NS, numbered_body, packed, text_of

line_texts = st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=12)
said_lines = st.lists(line_texts, min_size=1, max_size=12)
times = st.integers(0, 4 * 10**18)


def records_of(*pieces: str, stream: str = "stdout") -> bytes:
    """A record for each piece, a second apart."""
    return b"".join(
        log_records.record(START_NS + n * SECOND_NS, stream, piece) for n, piece in enumerate(pieces)
    )


def numbers(records: bytes, containing: str | None = None, *, pieces: bool = False) -> list[int]:
    found = log_records.newest_lines(records, 0, containing=containing, pieces=pieces)
    return [line.number for line in found]


@given(times, st.text(st.characters(codec="utf-8"), max_size=40))
def test_a_record_is_json_with_the_time_at_its_end(time_ns: int, text: str) -> None:
    one = log_records.record(time_ns, "stderr", text)
    parsed = json.loads(one)
    assert (parsed["log"], parsed["stream"]) == (text, "stderr")
    assert one.count(b"\n") == 1 and one.endswith(b"\n")
    assert log_records.time_ns_of(one[:-1]) == time_ns


@given(said_lines, st.integers(0, 10**9), st.one_of(st.none(), st.text(max_size=3)), st.booleans())
def test_lines_are_found_newest_first_with_their_numbers(
    said: list[str], first: int, containing: str | None, pieces: bool
) -> None:
    body = packed((n, "stdout", text) for n, text in enumerate(said))
    check(body, first, first + len(said) - 1)
    expected = [
        (first + n, n, "stdout", text)
        for n, text in enumerate(said)
        if containing is None or containing in text
    ]
    found = log_records.newest_lines(log_records.unpack(body), first, containing=containing, pieces=pieces)
    assert list(found) == expected[::-1]


@pytest.mark.parametrize(
    "text", ["größe", 'say "hi"', "a\\b", "/path", "\t", "☃", "<b>&", "a\\tb", "plain", "\u2028"]
)
def test_text_is_found_however_it_was_escaped(text: str) -> None:
    assert numbers(records_of(f"before {text} after\n", "other\n"), text) == [0]


def test_a_search_looks_at_the_text_only() -> None:
    records = log_records.record(77, "stdout", "a\n") + log_records.record(1, "stderr", "stdout 77\n")
    assert numbers(records, "stdout") == [1]
    assert numbers(records, "77") == [1]


def test_what_the_engine_has_cut_is_one_line_with_the_number_of_its_last_record() -> None:
    records = records_of("one ", "two ", "three\n", "next\n")
    assert log_records.count_lines(records) == 2
    assert [(line.number, line.text) for line in log_records.lines(records, 5)] == [
        (7, "one two three"),
        (8, "next"),
    ]
    assert numbers(records, "e two t", pieces=True) == [2]


def test_streams_are_put_together_apart() -> None:
    records = records_of("out ") + records_of("err\n", stream="stderr") + records_of("put\n")
    assert [(line.stream, line.text) for line in log_records.lines(records, 0)] == [
        ("stderr", "err"),
        ("stdout", "out put"),
    ]


def test_a_line_without_an_end_is_told_in_parts() -> None:
    piece = "x" * 16_384
    found = list(log_records.lines(records_of(*[piece] * 9), 0))
    assert [len(line.text) for line in found] == [65_536, 65_536, 16_384]


def test_a_record_that_cannot_be_read_is_left_out() -> None:
    nonsense = b'nonsense\n[1,2]\n{"log":1,"time":"x"}\n{"log":"x","stream":"stdout"}\n"x"\n'
    nonsense += b'{"log":"x","stream":"stdout","time":"2026-99-99T99:99:99.1Z"}\n'
    records = records_of("a\n") + nonsense + records_of("c\n")
    assert numbers(records) == [7, 0]
    assert numbers(records, pieces=True) == [7, 0]


def test_a_carriage_return_ends_no_record() -> None:
    records = records_of("a\r\n", "b\n")
    assert [line.text for line in log_records.lines(records, 0)] == ["a\r", "b"]


@pytest.mark.parametrize(
    ("body", "first", "last"),
    [
        (b"", 0, 0),
        (b"not zstd", 0, 0),
        (numbered_body(0, 9)[:-3], 0, 9),
        (numbered_body(0, 9), 0, 8),
        (numbered_body(0, 9), 1, 11),
        (numbered_body(0, 9), -5, 4),
        (zstandard.compress(b""), 0, -1),
        (zstandard.compress(records_of("no end")[:-1]), 0, 0),
        (zstandard.compress(records_of("whole\n") + b'{"log":'), 0, 0),
    ],
)
def test_a_block_that_is_none_is_invalid(body: bytes, first: int, last: int) -> None:
    with pytest.raises(Invalid):
        check(body, first, last)


def test_a_bomb_is_not_unpacked() -> None:
    with_size = zstandard.compress(bytes(log_records.MAX_UNPACKED + 1))
    stream = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    without_size = stream.compress(bytes(log_records.MAX_UNPACKED + 1)) + stream.flush()
    for bomb in (with_size, without_size):
        with pytest.raises(Invalid):
            log_records.unpack(bomb)


def test_a_cut_keeps_the_numbered_records_and_their_times() -> None:
    part = log_records.cut(log_records.unpack(numbered_body(10, 19)), 10, (12, 14))
    check(log_records.pack(part), 12, 14)
    assert [line.text for line in log_records.lines(part, 12)] == [text_of(n) for n in (12, 13, 14)]
    assert log_records.first_and_last_ns(part) == (START_NS + 12 * SECOND_NS, START_NS + 14 * SECOND_NS)


@pytest.mark.parametrize("one", [b"", b"{}", b'{"time":"yesterday"}', b'{"time":"'])
def test_what_is_no_record_has_no_time(one: bytes) -> None:
    with pytest.raises(Invalid, match="no log record"):
        log_records.time_ns_of(one)
