"""Word filters: never "no" for what is there, seldom "maybe" for what is not."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from lattice.log_records import lines, record
from services.logs.words import may_hold, word_filter, words_in, words_of
from tests.fixtures.log_blocks import START_NS

# What can go wrong: quotes and backslashes that the Engine escapes, words at the edges, letters beyond ASCII, control characters.
texts = st.text(alphabet='abXY0_ /\\"<&\tnu\x1bé\u2028K\n', max_size=30)


def block(*said: str) -> bytes:
    return b"".join(record(START_NS, "stdout", text.replace("\n", " ") + "\n") for text in said)


@given(st.lists(texts, min_size=1, max_size=6), st.data())
def test_a_block_with_a_line_that_has_the_text_is_never_left_out(
    said: list[str], data: st.DataObject
) -> None:
    records = block(*said)
    text = data.draw(st.sampled_from([line.text for line in lines(records, 1)]))
    start = data.draw(st.integers(0, len(text)))
    sought = text[start : data.draw(st.integers(start, len(text)))]
    for pieces in (False, True):
        assert may_hold(word_filter(words_in(records, pieces=pieces)), words_of(sought))


def test_words_of_a_search_have_an_end_on_both_sides_within_it() -> None:
    assert words_of("GET /v1/orders/7 status=20") == ("v1", "orders", "status")
    assert words_of("failed") == ()  # it may be the middle of a longer word
    assert words_of(" Failed ") == ("failed",)
    assert words_of("") == ()


def test_what_is_around_the_text_is_no_word_of_it() -> None:
    found = words_in(block("one Two", 'a "quoted" C:\\new\tdir', "x"), pieces=False)
    assert {b"one", b"two", b"quoted", b"new", b"dir"} <= found
    assert not found & {b"stdout", b"stream", b"time", b"nnew", b"tdir", b"2030"}


def test_a_word_that_the_engine_cut_is_whole() -> None:
    records = record(START_NS, "stdout", "first sec") + record(START_NS, "stdout", "ond third\n")
    assert b"second" in words_in(records, pieces=True)


def test_one_in_fifty_words_that_are_not_there_may_be() -> None:
    chance = random.Random(5)
    there = {f"{chance.getrandbits(64):016x}".encode() for _ in range(10_000)}
    filter_ = word_filter(there)
    assert len(filter_) == 12_500
    assert all(may_hold(filter_, [word.decode()]) for word in there)
    wrong = sum(may_hold(filter_, [f"{chance.getrandbits(64):016x}"]) for _ in range(20_000))
    assert wrong < 0.025 * 20_000
    both = sum(may_hold(filter_, [f"{chance.getrandbits(64):016x}" for _ in range(2)]) for _ in range(20_000))
    assert both < 0.002 * 20_000
