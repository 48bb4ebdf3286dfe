"""The log of an operation: what it was doing, and from when on.  Pure.

What counts up is one line, with its newest words: the log of a pull says that it was pulled, not every percent of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

# A deploy has about ten; one that goes to and fro for ten minutes keeps how it began, and its newest.
MOST_LINES = 100
_KEPT_FROM_THE_BEGINNING = 20
_COUNT = re.compile(r"\d+(?:\.\d+)?")


def with_line(lines: Sequence[dict[str, Any]], at: datetime, text: str) -> list[dict[str, Any]]:
    """The log with one more line, or with the last one as it reads now."""
    if not text:
        return list(lines)
    if lines and _shape(lines[-1]["text"]) == _shape(text):
        return [*lines[:-1], {**lines[-1], "text": text}]
    found = [*lines, {"at": at.isoformat(), "text": text}]
    if len(found) > MOST_LINES:
        del found[_KEPT_FROM_THE_BEGINNING]
    return found


def last_words(state: str, problem: dict[str, Any] | None) -> str:
    """What the log ends with."""
    detail = (problem or {}).get("detail", "")
    return f"{state}: {detail}" if detail else state


def _shape(text: str) -> str:
    """The text without what counts up in it."""
    return _COUNT.sub("#", text)
