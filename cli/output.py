"""Prints answers: tables and sentences for people, JSON, YAML or bare names for machines.

Answers go to stdout; progress, hints and errors go to stderr, so that a pipe gets the answer and nothing else.  JSON is what REST answered,
unchanged.  Everything that came from outside is cleaned before it meets a terminal.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TextIO

from cli.errors import CliError
from cli.sanitize import clean_line, clean_text, escape_for_json, is_safe

if TYPE_CHECKING:
    from rich.console import Console

    from cli.tables import Column


class OutputFormat(StrEnum):
    """How an answer is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


_STATE_STYLES = {
    "green": "running ready succeeded healthy bound approved active",
    "yellow": (
        "pending pulling starting deploying degraded suspect draining cordoned stopping joining unhealthy removing held "
        "warning acknowledged announced"
    ),
    "red": "critical open failed lost unreachable revoked rejected",
    "dim": "resolved stopped released cancelled",
}
_STYLE_OF = {state: style for style, states in _STATE_STYLES.items() for state in states.split()}


def to_json(data: Any, *, indent: int | None = 2) -> str:
    """`data` as JSON that is harmless to look at."""
    import json

    return escape_for_json(json.dumps(data, ensure_ascii=False, indent=indent))


def to_yaml(data: Any) -> str:
    """`data` as YAML; beyond ASCII only if that is harmless to look at."""
    import yaml

    readable = str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
    return readable if is_safe(readable) else str(yaml.safe_dump(data, sort_keys=False))


_NAMING_FIELDS = ("name", "username", "id", "uri")


def names_of(data: Any) -> list[str]:
    """What `-o name` prints: each thing's name, else its id."""
    if isinstance(data, Mapping) and isinstance(data.get("items"), list):
        return [name for item in data["items"] for name in names_of(item)]
    if not isinstance(data, Mapping):
        return [str(data)]
    accepted = next(
        (data[key] for key in ("workload", "node", "operation") if isinstance(data.get(key), Mapping)), None
    )
    if accepted is not None:
        return names_of(accepted)
    return [str(next((data[key] for key in _NAMING_FIELDS if data.get(key)), ""))]


class Screen:
    """Where one command prints."""

    def __init__(
        self, output: OutputFormat, *, quiet: bool, out: TextIO | None = None, err: TextIO | None = None
    ) -> None:
        self.output = output
        self.quiet = quiet
        self._out = out or sys.stdout
        self._err = err or sys.stderr

    @property
    def for_people(self) -> bool:
        return self.output is OutputFormat.TABLE

    @property
    def shows_progress(self) -> bool:
        return not self.quiet

    def now(self) -> datetime:
        return datetime.now(UTC)

    def console(self, stream: TextIO) -> Console:
        """A Rich console that decides about colour (NO_COLOR, no terminal) and wraps nothing."""
        from rich.console import Console

        return Console(file=stream, soft_wrap=True, highlight=False, markup=False, emoji=False)

    def answer_console(self) -> Console:
        return self.console(self._out)

    def error_console(self) -> Console:
        return self.console(self._err)

    def write(self, line: str) -> None:
        """One line of the answer, already clean."""
        self._out.write(line + "\n")

    def flush(self) -> None:
        """Shows what was written at once: for lines that come one by one."""
        self._out.flush()

    def say(self, text: str) -> None:
        """A sentence of the answer for people."""
        self.write(clean_text(text))

    def note(self, text: str) -> None:
        """Something to know beside the answer; not with --quiet."""
        if not self.quiet:
            self._err.write(clean_text(text) + "\n")

    def raw(self, body: bytes) -> None:
        """An answer as it came; onto a terminal without what would steer it."""
        text = body.decode("utf-8", "replace")
        self._out.write(clean_text(text) if self._out.isatty() else text)
        self._out.write("" if text.endswith("\n") or not text else "\n")

    def hint(self, *commands: str) -> None:
        """What people usually do next."""
        if self.for_people:
            self.note("Next: " + clean_line("   or   ".join(commands)))

    def warn(self, text: str) -> None:
        self._err.write(clean_line(text) + "\n")

    def data(self, data: Any, *, name: str | None = None) -> bool:
        """Prints `data` if a machine's format was asked for; says whether it did.  `name` is what counts as its name."""
        if self.output is OutputFormat.JSON:
            self.write(to_json(data))
        elif self.output is OutputFormat.YAML:
            self._out.write(to_yaml(data))
        elif self.output is OutputFormat.NAME:
            for line in [name] if name is not None else names_of(data):
                self.write(clean_line(line))
        return not self.for_people

    def listing(self, data: Mapping[str, Any], columns: Sequence[Column], *, empty: str) -> None:
        """A list in the asked format; `empty` tells people what to do when there is nothing yet."""
        if self.data(data):
            return
        if data["items"]:
            self.table(columns, data["items"])
        else:
            self.note(empty)

    def table(
        self, columns: Sequence[Column], items: Sequence[Mapping[str, Any]], *, indent: int = 0
    ) -> None:
        from rich.text import Text

        from cli.tables import GAP, cells, fit, padded

        rows = cells(columns, items, now=self.now())
        width = shutil.get_terminal_size().columns - indent if self._out.isatty() else None
        widths = fit(columns, rows, width)
        console = self.console(self._out)
        for number, row in enumerate(rows):
            line = Text(" " * indent)
            for position, cell in enumerate(padded(columns, row, widths)):
                line.append(" " * (GAP if position else 0))
                line.append(cell, style="bold" if number == 0 else _STYLE_OF.get(cell.strip(), ""))
            line.rstrip()
            console.print(line)

    def fields(self, pairs: Sequence[tuple[str, Any]]) -> None:
        """`Name:  value` lines; pairs without a value are left out."""
        from rich.text import Text

        given = [
            (name, clean_line(str(value))) for name, value in pairs if value not in (None, "", (), [], {})
        ]
        widest = max((len(name) for name, _ in given), default=0)
        console = self.console(self._out)
        for name, value in given:
            line = Text(f"{name + ':':<{widest + 2}} ", style="bold")
            line.append(value, style=_STYLE_OF.get(value, "not bold"))
            console.print(line)

    def error(self, error: CliError) -> None:
        """The explanation of a bad end, on stderr."""
        from rich.text import Text

        console = self.error_console()
        for number, line in enumerate(error.lines()):
            console.print(Text(line, style="red" if number == 0 else ""))
