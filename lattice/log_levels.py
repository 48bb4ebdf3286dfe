"""How grave a log line is, read from its text: there is no level in what a container prints.  Pure.

Looked for in this order: the field of a line that is a JSON object (`level`, `severity`, …, also as the numbers of bunyan and pino), `level=warn` as
logfmt has it, then a word near the beginning, as most loggers and databases write it (`ERROR: …`, `2026-11-27 10:00:00 [warn] …`).
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any

import orjson


class LogLevel(StrEnum):
    """From least to most grave."""

    TRACE = "trace"
    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"
    FATAL = "fatal"


_ORDER = {level: place for place, level in enumerate(LogLevel)}
_SPELLINGS = {
    LogLevel.TRACE: "trace trc finest finer verbose",
    LogLevel.DEBUG: "debug dbg fine",
    LogLevel.INFO: "info inf information notice log success",
    LogLevel.WARN: "warn wrn warning",
    LogLevel.ERROR: "error err erro eror severe",
    LogLevel.FATAL: "fatal ftl crit critical panic alert emerg emergency",
}
_WORDS = {word: level for level, words in _SPELLINGS.items() for word in words.split()}
_FIELDS = ("level", "severity", "lvl", "levelname", "log.level", "loglevel", "severity_text", "@l")
_LOGFMT = re.compile(r"(?:^|\s)(?:level|lvl|severity)=\"?([A-Za-z]+)")
_LOGFMT_HINTS = ("level=", "lvl=", "severity=")  # looking for these first is ten times as fast
# In capitals anywhere near the beginning; in small letters only where brackets, a colon or bars mark it as a level.
_CAPITALS = re.compile(r"\b[A-Z]{3,8}\b")
_IN_CAPITALS = frozenset(
    [
        "TRACE",
        "DEBUG",
        "INFO",
        "NOTICE",
        "WARN",
        "WARNING",
        "ERROR",
        "SEVERE",
        "CRITICAL",
        "FATAL",
        "PANIC",
        "LOG",
    ]
)
_MARKED = re.compile(r"(?:[\[|(<]\s*|^)([A-Za-z]{3,11})(?:\s*[\]|)>]|:(?=\s))")
_NEAR = 100


def at_least(level: LogLevel | None, wanted: LogLevel) -> bool:
    """Whether a line of this level is as grave; one without a level is not."""
    return level is not None and _ORDER[level] >= _ORDER[wanted]


def level_of(text: str) -> LogLevel | None:
    """How grave a line says that it is; None where it says nothing."""
    if text.startswith("{"):
        fields = fields_of(text)
        if fields is not None:
            return _level_in(fields)
    if any(hint in text for hint in _LOGFMT_HINTS) and (found := _LOGFMT.search(text)):
        return _WORDS.get(found[1].lower())
    return _level_near_the_start(text[:_NEAR])


def fields_of(text: str) -> dict[str, Any] | None:
    """The fields of a line that is a JSON object, else None."""
    if not text.startswith("{"):
        return None
    try:
        found = orjson.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def field_text(fields: dict[str, Any], path: str) -> str | None:
    """The value of a field as text: `user.id` is a field of that name, or `id` inside `user`; None where there is none."""
    value: Any = fields.get(path)
    if value is None:
        value = fields
        for name in path.split("."):
            value = value.get(name) if isinstance(value, dict) else None
    return None if value is None else value if isinstance(value, str) else orjson.dumps(value).decode()


def _level_in(fields: dict[str, Any]) -> LogLevel | None:
    for name in _FIELDS:
        value = fields.get(name)
        if isinstance(value, str):
            return _WORDS.get(value.lower())
        if isinstance(value, int):
            return _level_of_number(value)
    return None


def _level_of_number(number: int) -> LogLevel | None:
    """bunyan and pino: 10 is trace, 60 is fatal."""
    return list(LogLevel)[min(number // 10, 6) - 1] if number >= 10 else None


def _level_near_the_start(text: str) -> LogLevel | None:
    for word in _CAPITALS.findall(text):
        if word in _IN_CAPITALS:
            return _WORDS[word.lower()]
    for word in _MARKED.findall(text):
        if word.lower() in _WORDS:
            return _WORDS[word.lower()]
    return None
