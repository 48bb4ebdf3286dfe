r"""Which blocks a search for whole words can leave out.  Pure.

A word is a run of letters of ASCII, digits and `_`, in small letters, two or more of them; every other byte is between words.  A block's filter
is a Bloom filter over its distinct words: ten bits for each, three of them set, so it says "maybe" of one in fifty words that are not there
and never "no" of one that is.  Nothing is done line by line: a block is text, cut and counted by what the interpreter has in C.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from zlib import crc32

from lattice import log_records

_BITS_PER_WORD = 10
_FEWEST_BITS = 64
_WORD_BYTES = b"abcdefghijklmnopqrstuvwxyz0123456789_"
_SINGLE = frozenset(bytes([byte]) for byte in _WORD_BYTES)
_FOLDED = bytes(byte if byte in _WORD_BYTES else 32 for byte in bytes(range(256)).lower())
# From the end of one record's line to the beginning of the next one's.  A quote within a text is escaped, so this is never part of one.
_BETWEEN = re.compile(rb'\\n","stream":"[^\n]*\n(?:\{"log":")?')
_ESCAPE = re.compile(rb"\\(?:u[0-9a-fA-F]{4}|[^u])", re.DOTALL)
_BOUNDED = re.compile(rb"(?<=[ ])[a-z0-9_]{2,}(?=[ ])")
_SCATTER = 0x9E3779B1


def words_of(text: str) -> tuple[str, ...]:
    """The words that are in every line with this text: those that have an end on both sides within it."""
    return tuple(dict.fromkeys(word.decode() for word in _BOUNDED.findall(_fold(text.encode()))))


def words_in(records: bytes, *, pieces: bool) -> set[bytes]:
    """The words of a block; with `pieces` a line may have several records, and a word may be cut by one's end."""
    return set(_fold(_joined(records) if pieces else _texts(records)).split()) - _SINGLE


def word_filter(words: Iterable[bytes]) -> bytes:
    """A filter that may contain these and most probably nothing else."""
    distinct = frozenset(words)
    bits = max(_FEWEST_BITS, -(-len(distinct) * _BITS_PER_WORD // 8) * 8)
    marks = bytearray(b"0") * bits
    for check in map(crc32, distinct):  # written out: a call per word would double what a block takes
        marks[check % bits] = marks[(check >> 8) % bits] = marks[(check * _SCATTER >> 12) % bits] = 49
    return int(marks, 2).to_bytes(bits // 8, "big")


def may_hold(filter_: bytes, words: Iterable[str]) -> bool:
    """Whether all of these words may be in the block with this filter."""
    bits = len(filter_) * 8
    return all(
        filter_[place >> 3] & (0x80 >> (place & 7))
        for word in words
        for place in _places(word.encode(), bits)
    )


def _places(word: bytes, bits: int) -> Iterator[int]:
    check = crc32(word)
    yield from (check % bits, (check >> 8) % bits, (check * _SCATTER >> 12) % bits)


def _fold(text: bytes) -> bytes:
    return text.translate(_FOLDED)


def _texts(records: bytes) -> bytes:
    texts = _BETWEEN.sub(b"\n", records)
    return _ESCAPE.sub(b" ", texts) if b"\\" in texts else texts


def _joined(records: bytes) -> bytes:
    return "\n".join(line.text for line in log_records.lines(records, 1)).encode(errors="replace")
