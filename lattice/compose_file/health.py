"""`healthcheck` of a compose service as a workload's health check.

What the file does not say is as in Docker (timeout 30 s, 3 retries), but for the interval and the time to start: looking every 5 s and
forgiving failures in the first 30 s only lets a service count as healthy earlier.
"""

from __future__ import annotations

from typing import Any

from lattice.compose_file import amounts
from lattice.compose_file.findings import Place
from lattice.compose_file.scalars import only, read

_KEYS = ("test", "interval", "timeout", "retries", "start_period", "disable")
_DOCKER_TIMEOUT_S = 30.0


def health(value: object, place: Place) -> dict[str, Any] | None:
    """The check as a workload's spec has it, or None for none."""
    given = only(value, _KEYS, place)
    off = given.get("disable")
    if (off is not None and read(amounts.is_true, off, place.under("disable"))) or not given:
        return None
    command = _command(given.get("test"), place.under("test"))
    if command is None:
        return None
    read_as = {
        "interval": amounts.duration_s,
        "timeout": amounts.duration_s,
        "start_period": amounts.duration_s,
    }
    durations = {name: read(parse, given.get(name), place.under(name)) for name, parse in read_as.items()}
    retries = read(amounts.whole, given.get("retries"), place.under("retries"))
    wanted = {"timeout": _DOCKER_TIMEOUT_S} | {
        name: amount for name, amount in {**durations, "retries": retries}.items() if amount is not None
    }
    return {"exec": {"command": command}, **wanted}


def _command(test: object, place: Place) -> list[str] | None:
    if isinstance(test, str) and test:
        return _in_shell(test)
    kind, *rest = test if isinstance(test, (list, tuple)) and test else ("",)
    words = [str(word) for word in rest]
    if kind == "NONE":
        return None
    if kind == "CMD-SHELL" and len(words) == 1:
        return _in_shell(words[0])
    if kind == "CMD" and words:
        return words
    place.refuse('write [CMD, program, argument …], [CMD-SHELL, "command"], [NONE] or a text')
    return None


def _in_shell(line: str) -> list[str]:
    return ["/bin/sh", "-c", line]
