"""The words of LogQL, Grafana Loki's query language, each with its place in the text.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import NoReturn

from lattice.errors import Invalid

LONGEST = 5_000


class Kind(Enum):
    """What sort of a word it is."""

    NAME = "a name"
    STRING = "a text in quotes"
    DURATION = "a duration"
    NUMBER = "a number"
    SIGN = "a sign"
    END = "the end"


@dataclass(frozen=True, slots=True)
class Word:
    """A word; of a text in quotes, what the quotes hold."""

    kind: Kind
    text: str
    at: int


# Which of two that both fit is meant: the one that stands first.
_PATTERNS = (
    (None, r"[\s]+|\#[^\n]*"),
    (Kind.STRING, r'"(?:[^"\\\n]|\\.)*"|`[^`]*`'),
    (Kind.DURATION, r"(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h|d|w|y))+(?![A-Za-z0-9_])"),
    (Kind.NUMBER, r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![A-Za-z0-9_])"),
    (Kind.NAME, r"[A-Za-z_][A-Za-z0-9_]*"),
    (Kind.SIGN, r"\|=|\|~|!=|!~|=~|==|>=|<=|[{}()\[\],|=<>+*/-]"),
)
_WORD = re.compile("|".join(f"({pattern})" for _, pattern in _PATTERNS))
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_UNIT_NS = {
    "ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9,
    "d": 86_400 * 10**9, "w": 7 * 86_400 * 10**9, "y": 365 * 86_400 * 10**9,
}  # fmt: skip
_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h|d|w|y)")


def words(text: str) -> list[Word]:
    """All of them, with the end as the last.  Raises Invalid with the place of what is no word."""
    if len(text) > LONGEST:
        raise Invalid(f"The query is longer than {LONGEST} characters.")
    return [*_words(text), Word(Kind.END, "", len(text))]


def refuse(text: str, at: int, why: str) -> NoReturn:
    """Say where a query cannot be understood, as Loki does."""
    line = text.count("\n", 0, at) + 1
    column = at - (text.rfind("\n", 0, at) + 1) + 1
    raise Invalid(f"parse error at line {line}, col {column}: {why}")


def duration_ns(text: str) -> int:
    """`1h30m` in nanoseconds."""
    return sum(int(float(number) * _UNIT_NS[unit]) for number, unit in _PART.findall(text))


def _words(text: str) -> Iterator[Word]:
    at = 0
    while at < len(text):
        found = _WORD.match(text, at)
        if found is None:
            refuse(text, at, f"{text[at]!r} is not expected here")
        kind = _PATTERNS[(found.lastindex or 1) - 1][0]
        if kind is not None:
            yield Word(kind, _unquoted(found[0]) if kind is Kind.STRING else found[0], at)
        at = found.end()


def _unquoted(text: str) -> str:
    return text[1:-1] if text[0] == "`" else _ESCAPE.sub(_unescaped, text[1:-1])


def _unescaped(match: re.Match[str]) -> str:
    code = match[1]
    if code[0] in "xu" and len(code) > 1:
        return chr(int(code[1:], 16))
    return _ESCAPES.get(code, code)
