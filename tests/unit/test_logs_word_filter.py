"""Word filters: a line that is there is never hidden, and most that are not are told so."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice import log_records
from services.logs import word_filter

texts = st.text(st.characters(codec="utf-8"), max_size=30)


def records_of(*said: str) -> bytes:
    return b"".join(
        log_records.record(10**18 + number, "stdout", text + "\n") for number, text in enumerate(said)
    )


@given(st.lists(texts, max_size=20), st.data())
def test_every_word_of_a_text_is_found(said: list[str], data: st.DataObject) -> None:
    found = word_filter.build(word_filter.words_in(records_of(*said)))
    for text in said:
        assert word_filter.may_have(found, word_filter.words_of(text, whole=True)), text
        if text:
            start = data.draw(st.integers(0, len(text) - 1))
            part = text[start : data.draw(st.integers(start + 1, len(text)))]
            assert word_filter.may_have(found, word_filter.words_of(part, whole=False)), (text, part)


@pytest.mark.parametrize(
    "said",
    [
        "<div>",
        "a\tbc",
        "10%\r20%\r30%",
        'say "hi"',
        "C:\\new\\table",
        "x\u2028yz",
        "größe GROSS",
        "\x1b[31mred",
    ],
)
def test_words_beside_what_is_escaped_are_found(said: str) -> None:
    words = {word.lower().encode() for word in re.findall("[A-Za-z0-9_]{2,}", said)}
    assert words and words <= word_filter.words_in(records_of("before", said, "after"))


def test_what_the_engine_writes_around_a_text_is_no_word() -> None:
    assert word_filter.words_in(records_of("only this", "and that")) == {b"only", b"this", b"and", b"that"} | {
        b"log", b"stream", b"stdout", b"time"
    } & word_filter.words_in(records_of("x"))  # fmt: skip


def test_most_words_that_are_not_there_are_told_so() -> None:
    chance = random.Random(5)
    there = {b"%012x" % chance.getrandbits(48) for _ in range(9_000)}
    found = word_filter.build(there)
    assert len(found) < 9_000 * 1.4
    absent = [b"%012x" % chance.getrandbits(48) for _ in range(10_000)]
    assert sum(word_filter.may_have(found, [word]) for word in absent) < 200


@pytest.mark.parametrize(
    ("text", "inside", "whole"),
    [
        ("timeout", (), (b"timeout",)),
        ("order 17 failed", (b"17",), (b"order", b"17", b"failed")),
        (" failed ", (b"failed",), (b"failed",)),
        ("a", (), ()),
        ("größe", (), (b"gr",)),
        ("=user_id=", (b"user_id",), (b"user_id",)),
    ],
)
def test_words_that_a_matching_line_certainly_has(
    text: str, inside: tuple[bytes, ...], whole: tuple[bytes, ...]
) -> None:
    assert word_filter.words_of(text, whole=False) == inside
    assert word_filter.words_of(text, whole=True) == whole


@given(st.sets(st.binary(min_size=2, max_size=8), max_size=50), st.integers(0, 400), st.integers(1, 255))
def test_a_damaged_filter_hides_nothing(words: set[bytes], at: int, flip: int) -> None:
    found = bytearray(word_filter.build(words))
    found[at % len(found)] ^= flip
    assert word_filter.may_have(bytes(found), words)
    assert word_filter.may_have(bytes(found[: at % len(found)]), words)
