"""The fields in a line's own text, as flat names: `{"user":{"id":7}}` has `user_id`, `status=500 msg="disk full"` has `status` and `msg`.  Pure.

Names are written as labels are (letters, digits, underscores).  Only the first fields of a line are read: a line may hold anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import orjson

from lattice.contracts.messages import LineFormat
from lattice.log_levels import fields_of

MOST_FIELDS = 100
_MOST_NESTED = 8
_NO_LABEL = re.compile(r"[^A-Za-z0-9_]")
_PAIR = re.compile(r'([^\s="]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s"]*))')
_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


def fields_as(text: str, formats: tuple[LineFormat, ...]) -> dict[str, str]:
    """The fields of a line; of a name that comes twice, the first."""
    found: dict[str, str] = {}
    for one in formats:
        for name, value in _JSON_OR_LOGFMT[one](text):
            if len(found) == MOST_FIELDS:
                return found
            found.setdefault(name, value)
    return found


def label_name(text: str) -> str:
    """A field's name as a label's."""
    name = _NO_LABEL.sub("_", text)
    return f"_{name}" if name[:1].isdigit() else name


def _in_json(text: str) -> Iterator[tuple[str, str]]:
    fields = fields_of(text)
    return _flat(fields, "", _MOST_NESTED) if fields else iter(())


def _flat(fields: dict[str, Any], before: str, depth: int) -> Iterator[tuple[str, str]]:
    for name, value in fields.items():
        label = before + label_name(name)
        if isinstance(value, dict) and depth:
            yield from _flat(value, label + "_", depth - 1)
        elif isinstance(value, str):
            yield label, value
        elif value is not None and not isinstance(value, list | dict):
            yield label, orjson.dumps(value).decode()


def _in_logfmt(text: str) -> Iterator[tuple[str, str]]:
    for name, quoted, plain in _PAIR.findall(text):
        yield label_name(name), _ESCAPE.sub(_unescaped, quoted) if quoted else plain


def _unescaped(match: re.Match[str]) -> str:
    return _ESCAPES.get(match[1], match[1])


_JSON_OR_LOGFMT = {LineFormat.JSON: _in_json, LineFormat.LOGFMT: _in_logfmt}
