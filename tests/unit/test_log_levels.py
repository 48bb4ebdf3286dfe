"""How grave a line says that it is."""

from __future__ import annotations

import pytest

from lattice.log_levels import LogLevel, at_least, field_text, fields_of, level_of


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ('{"level":"warning","msg":"x"}', LogLevel.WARN),
        ('{"severity":"ERROR"}', LogLevel.ERROR),
        ('{"level":30,"msg":"pino"}', LogLevel.INFO),
        ('{"level":60}', LogLevel.FATAL),
        ('{"level":1}', None),
        ('{"msg":"ERROR is only in the text"}', None),
        ('{"level": broken', None),
        ("time=1 level=error msg=x", LogLevel.ERROR),
        ('ts=1 lvl="dbg" msg=x', LogLevel.DEBUG),
        ("2026-11-27 10:00:00.123 UTC [71] LOG:  database system is ready", LogLevel.INFO),
        ('2026-11-27 10:00:00 UTC [71] FATAL:  role "x" does not exist', LogLevel.FATAL),
        ("2026/11/27 10:00:00 [warn] 7#7: low space", LogLevel.WARN),
        ("INFO:root:started", LogLevel.INFO),
        ("error: no such file", LogLevel.ERROR),
        ("| info | started", LogLevel.INFO),
        ("no errors were found, all is fine", None),
        ("GET /error HTTP/1.1 200", None),
        ("x" * 100 + " ERROR", None),
        ("", None),
    ],
)
def test_the_level_is_read_from_the_text(text: str, level: LogLevel | None) -> None:
    assert level_of(text) is level


def test_at_least_means_as_grave() -> None:
    assert at_least(LogLevel.ERROR, LogLevel.WARN) and at_least(LogLevel.WARN, LogLevel.WARN)
    assert not at_least(LogLevel.INFO, LogLevel.WARN) and not at_least(None, LogLevel.TRACE)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("status", "500"),
        ("user.id", "u1"),
        ("a.b", "dotted"),
        ("ok", "true"),
        ("user", '{"id":"u1"}'),
        ("user.name", None),
        ("none", None),
    ],
)
def test_fields_are_found_by_their_path(path: str, value: str | None) -> None:
    fields = fields_of('{"status":500,"user":{"id":"u1"},"a.b":"dotted","ok":true,"none":null}')
    assert fields is not None
    assert field_text(fields, path) == value


@pytest.mark.parametrize("text", ["plain", "[1]", '"x"', "{broken", ""])
def test_what_is_no_object_has_no_fields(text: str) -> None:
    assert fields_of(text) is None
