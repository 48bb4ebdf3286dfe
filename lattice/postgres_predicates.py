"""The condition of a partial unique index, read so that it can be decided in memory.

Only what such conditions are made of is understood: tests of one column joined by `and`.  Anything else is refused when the row class is
first used, so a rule is never silently left out by a test double.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Predicate = Callable[[Mapping[str, Any]], bool]
Test = Callable[[Any], bool]

_COLUMN = r'(?:\w+\.)*"?(?P<column>\w+)"?'
_LITERAL = r"'[^']*'|-?\d+|true|false"


def always(_row: Mapping[str, Any]) -> bool:
    """The condition of a rule that holds for every row."""
    return True


def _one_of(literals: str) -> Test:
    values = _literals(literals)
    return lambda value: value in values


def _none_of(literals: str) -> Test:
    values = _literals(literals)
    return lambda value: value is not None and value not in values


_TESTS: tuple[tuple[str, Callable[[str], Test]], ...] = (
    (rf"{_COLUMN} is null", lambda _: lambda value: value is None),
    (rf"{_COLUMN} is not null", lambda _: lambda value: value is not None),
    (rf"{_COLUMN}(?: is true)?", lambda _: lambda value: value is True),
    (rf"not {_COLUMN}", lambda _: lambda value: value is False),
    (rf"{_COLUMN} is false", lambda _: lambda value: value is False),
    (rf"{_COLUMN} = (?P<literals>{_LITERAL})", _one_of),
    (rf"{_COLUMN} (?:<>|!=) (?P<literals>{_LITERAL})", _none_of),
    (rf"{_COLUMN} in \((?P<literals>[^)]*)\)", _one_of),
    (rf"\(?{_COLUMN} not in \((?P<literals>[^)]*)\)\)?", _none_of),
)


def parse_predicate(text: str) -> Predicate:
    """Whether a row's values meet the condition; ValueError if the condition is of an unknown form."""
    tests = [_parse_test(part.strip()) for part in re.split(r"\s+and\s+", text.strip(), flags=re.IGNORECASE)]
    return lambda row: all(test(row[column]) for column, test in tests)


def _parse_test(text: str) -> tuple[str, Test]:
    for pattern, make in _TESTS:
        found = re.fullmatch(pattern, text, flags=re.IGNORECASE)
        if found:
            return found["column"], make(found.groupdict().get("literals", ""))
    raise ValueError(f"cannot read {text!r}: write tests of one column, joined by `and`")


def _literals(text: str) -> list[Any]:
    return [_literal(one) for one in re.findall(_LITERAL, text, flags=re.IGNORECASE)]


def _literal(text: str) -> Any:
    if text.startswith("'"):
        return text[1:-1]
    return {"true": True, "false": False}[text.lower()] if text.lower() in ("true", "false") else int(text)
