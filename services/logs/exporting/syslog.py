"""Lines as syslog messages (RFC 5424), each with its length before it (RFC 6587), so a message may hold anything.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lattice.log_levels import LogLevel
from lattice.log_shown import time_text
from services.logs.exporting.batches import Exported

_FACILITY = 16  # local0: what is not of the operating system
_SEVERITIES = {
    LogLevel.TRACE: 7,
    LogLevel.DEBUG: 7,
    LogLevel.INFO: 6,
    LogLevel.WARN: 4,
    LogLevel.ERROR: 3,
    LogLevel.FATAL: 2,
}
_UNSAID = 6
_NOT_IN_A_NAME = re.compile(r"[^\x21-\x7e]")
_ESCAPED = re.compile(r'(["\\\]])')
# RFC 5612 keeps this number free for examples: Lattice has none of its own.
_ELEMENT = "lattice@32473"


def payload(lines: Iterable[Exported]) -> bytes:
    """All of them, one after the other."""
    return b"".join(_counted(_message(exported)) for exported in lines)


def _counted(message: bytes) -> bytes:
    return f"{len(message)} ".encode() + message


def _message(exported: Exported) -> bytes:
    place, line, level = exported.place, exported.line, exported.level
    priority = _FACILITY * 8 + (_UNSAID if level is None else _SEVERITIES[level])
    time = time_text(line.time_ns)
    names = " ".join(
        (
            _name(place.node, 255),
            _name(place.workload, 48),
            _name(place.instance, 128),
            _name(line.stream, 32),
        )
    )
    data = f'project="{_value(place.project)}" source="{_value(exported.source)}" number="{line.number}"'
    return f"<{priority}>1 {time} {names} [{_ELEMENT} {data}] {line.text}".encode("utf-8", "replace")


def _name(text: str, longest: int) -> str:
    return _NOT_IN_A_NAME.sub("_", text)[:longest] or "-"


def _value(text: str) -> str:
    return _ESCAPED.sub(r"\\\1", text)
