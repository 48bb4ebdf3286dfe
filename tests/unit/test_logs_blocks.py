"""The bodies of blocks: what is refused, and what a search finds in them."""

from __future__ import annotations

import json

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from lattice.errors import Invalid
from services.logs import blocks
from tests.fixtures.log_blocks import SECOND_NS, START_NS, numbered_body, packed, text_of

texts = st.lists(st.text(max_size=12), min_size=1, max_size=12)


def numbers(body: bytes, first: int, grep: str | None = None) -> list[int]:
    return [line.number for line in blocks.newest_lines(body, first, grep)]


@given(texts, st.integers(0, 10**9), st.one_of(st.none(), st.text(max_size=3)))
def test_lines_are_found_newest_first_with_their_numbers(
    said: list[str], first: int, grep: str | None
) -> None:
    body = packed((n, "stdout", text) for n, text in enumerate(said))
    blocks.check(body, first, first + len(said) - 1)
    expected = [(first + n, n, "stdout", text) for n, text in enumerate(said) if grep is None or grep in text]
    found = [
        (line.number, line.time_ns, line.stream, line.text) for line in blocks.newest_lines(body, first, grep)
    ]
    assert found == expected[::-1]


@pytest.mark.parametrize("ensure_ascii", [True, False])
@pytest.mark.parametrize("grep", ["größe", 'say "hi"', "a\\b", "/path", "\t", "☃", "plain"])
def test_grep_finds_text_however_it_was_encoded(grep: str, ensure_ascii: bool) -> None:
    ndjson = json.dumps([1, "stderr", f"before {grep} after"], ensure_ascii=ensure_ascii) + "\n"
    body = zstandard.compress(ndjson.encode() + b'[2,"stdout","other"]\n')
    assert numbers(body, 0, grep) == [0]


def test_grep_looks_at_the_text_only() -> None:
    body = packed([(77, "stdout", "a"), (1, "stderr", "stdout 77")])
    assert numbers(body, 0, "stdout") == [1]
    assert numbers(body, 0, "77") == [1]


def test_a_line_that_cannot_be_read_is_left_out() -> None:
    body = zstandard.compress(
        b'[1,"stdout","a"]\nnonsense\n[1,2]\n{"a":1}\n["x","stdout","b"]\n[2,"stdout","c"]\n'
    )
    assert numbers(body, 10) == [15, 10]


def test_a_carriage_return_ends_no_line() -> None:
    body = zstandard.compress(b'[1,"stdout","a"]\r\n[2,"stdout","b"]\n')
    blocks.check(body, 0, 1)
    assert numbers(body, 0) == [1, 0]


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
        (zstandard.compress(b'[1,"stdout","no end"]'), 0, 0),
        (zstandard.compress(b'[1,"stdout","a"]\n[2'), 0, 0),
    ],
)
def test_a_block_that_is_none_is_invalid(body: bytes, first: int, last: int) -> None:
    with pytest.raises(Invalid):
        blocks.check(body, first, last)


def test_a_bomb_is_not_unpacked() -> None:
    with_size = zstandard.compress(bytes(blocks.MAX_UNPACKED + 1))
    stream = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    without_size = stream.compress(bytes(blocks.MAX_UNPACKED + 1)) + stream.flush()
    for bomb in (with_size, without_size):
        with pytest.raises(Invalid):
            blocks.unpack(bomb)


def test_a_cut_keeps_the_numbered_lines_and_their_times() -> None:
    part = blocks.cut(numbered_body(10, 19), 10, (12, 14))
    blocks.check(part, 12, 14)
    assert [line.text for line in blocks.newest_lines(part, 12, None)] == [text_of(n) for n in (14, 13, 12)]
    assert blocks.times(part) == (START_NS + 12 * SECOND_NS, START_NS + 14 * SECOND_NS)
