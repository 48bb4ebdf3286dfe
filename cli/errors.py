"""How a command ends badly: what happened, why, what to do, and the request id last.

The exit code is part of the error: 1 refused or failed, 2 wrong usage, 3 timed out while the work goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from cli.sanitize import clean_line


class ExitCode(IntEnum):
    """What a script learns from a command without reading its output."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    TIMED_OUT = 3
    INTERRUPTED = 130  # as shells count it: 128 + SIGINT


class CliError(Exception):
    """Ends the command with this explanation on stderr."""

    def __init__(
        self,
        what: str,
        *,
        why: str = "",
        todo: str = "",
        details: tuple[str, ...] = (),
        request_id: str = "",
        exit_code: int = ExitCode.FAILED,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.todo = todo
        self.details = details
        self.request_id = request_id
        self.exit_code = exit_code

    def lines(self) -> list[str]:
        """The explanation, one thought per line, safe to print."""
        lines = [f"Error: {clean_line(self.what)}"]
        lines += [f"  {clean_line(detail)}" for detail in self.details]
        lines += [f"  Why: {clean_line(self.why)}"] if self.why else []
        lines += [f"  Try: {clean_line(self.todo)}"] if self.todo else []
        lines += [f"  Request: {clean_line(self.request_id)}"] if self.request_id else []
        return lines


class Unreachable(CliError):
    """The platform did not answer, or says that a part of it is away: the same request may work later."""


class Refused(CliError):
    """The platform answered with a problem."""

    def __init__(self, what: str, *, status: int, code: str, **rest: Any) -> None:
        super().__init__(what, **rest)
        self.status = status
        self.code = code


def usage(what: str, *, todo: str = "") -> CliError:
    """The command was written wrongly; nothing was sent."""
    return CliError(what, todo=todo, exit_code=ExitCode.USAGE)


_TODO_BY_STATUS = {
    401: "sign in with `lattice login URL`, or give a valid LATTICE_TOKEN",
    403: "ask an administrator for the right, or use another project (--project)",
    412: "look again, then repeat the command on what is there now",
    429: "wait a moment, then try again",
    503: "try again in a moment; `lattice status` on the platform's machine shows which part is away",
    504: "see how far it came with `lattice op ls` before trying again",
}


def from_problem(status: int, problem: Mapping[str, Any], *, url: str) -> CliError:
    """The error for an answer in RFC 9457 form; an answer of another form says so."""
    title = str(problem.get("title") or f"HTTP {status}")
    detail = str(problem.get("detail") or "")
    if not problem:
        return not_the_platform(status, url=url)
    return _kind(status)(
        f"{title}: {detail}" if detail and detail != title else title,
        status=status,
        code=str(problem.get("code") or ""),
        todo=_TODO_BY_STATUS.get(status, ""),
        details=tuple(_field_error(error) for error in problem.get("errors") or () if _is_new(error, detail)),
        request_id=str(problem.get("request_id") or ""),
    )


class _Away(Refused, Unreachable):
    """An answer that says to come back later."""


def _kind(status: int) -> type[Refused]:
    return _Away if status in (502, 503, 504) else Refused


def _is_new(error: Mapping[str, Any], detail: str) -> bool:
    """Whether the field's words say more than the sentence before them."""
    return not error.get("detail") or str(error["detail"]) not in detail


def _field_error(error: Mapping[str, Any]) -> str:
    pointer = str(error.get("pointer") or "").strip("/").replace("/", ".")
    detail = str(error.get("detail") or "")
    return f"{pointer}: {detail}" if pointer else detail


def not_the_platform(status: int, *, url: str) -> Refused:
    """Something answered that does not speak the platform's language."""
    return _kind(status)(
        f"{url} answered {status} without an explanation.",
        status=status,
        code="",
        why="this is not how a Lattice gateway answers; a proxy or another server may be in between",
        todo="check the address in `lattice ctx ls` or LATTICE_URL",
    )
