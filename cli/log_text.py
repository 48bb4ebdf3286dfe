"""How log lines look: each line begins with whose it is; what went to stderr is marked, and so is where lines are missing."""

from __future__ import annotations

import json
from typing import Any

from cli.output import OutputFormat, Screen, to_json, to_yaml
from cli.sanitize import clean_line, clean_text

GAP, PLATFORM = "gap", "_platform"
_KNOWN = frozenset(("time", "level", "service", "message"))
_BARS = {"stderr": "red", GAP: "yellow"}
_COLOURS = ("cyan", "magenta", "green", "yellow", "blue")


class LogPrinter:
    """Prints one line after another."""

    def __init__(self, screen: Screen, *, timestamps: bool, workloads: bool = False) -> None:
        self._screen = screen
        self._timestamps, self._workloads = timestamps, workloads
        self.shown = 0
        self._colour_of: dict[str, str] = {}
        self._console = screen.answer_console()

    def show(self, line: dict[str, Any]) -> None:
        self.shown += 1
        if self._screen.output is OutputFormat.JSON:
            self._screen.write(to_json(line, indent=None))
        elif self._screen.output is OutputFormat.YAML:
            self._screen.write("---\n" + to_yaml(line).removesuffix("\n"))
        else:
            self._show_text(line)

    def show_now(self, line: dict[str, Any]) -> None:
        """As `show`, without waiting for more to come."""
        self.show(line)
        self._screen.flush()

    def _show_text(self, line: dict[str, Any]) -> None:
        if self._console.is_terminal:
            self._show_coloured(line)
            return
        # Into a pipe without Rich: 10 times as fast, and `-n all` may be millions of lines.
        time = f"{clean_line(line['time'])} " if self._timestamps else ""
        bar = "┊" if line.get("stream") == GAP else "│"
        self._screen.write(f"{time}{self._whose(line)} {bar} {clean_text(_words(line))}")

    def _show_coloured(self, line: dict[str, Any]) -> None:
        from rich.text import Text

        text = Text()
        if self._timestamps:
            text.append(clean_line(line["time"]) + " ", style="dim")
        whose, is_gap = self._whose(line), line.get("stream") == GAP
        text.append(f"{whose} ", style=self._colour(whose))
        text.append("┊ " if is_gap else "│ ", style=_BARS.get(str(line.get("stream")), "dim"))
        text.append(clean_text(_words(line)), style="italic yellow" if is_gap else "")
        self._console.print(text)

    def _whose(self, line: dict[str, Any]) -> str:
        """The instance; where there are several workloads, which one too; of the platform's own lines, the part and its node."""
        if line.get("project") == PLATFORM:
            return clean_line(f"{line.get('node')}/{line.get('workload')}")
        instance = short_instance(line)
        return f"{clean_line(str(line.get('workload') or '-'))}/{instance}" if self._workloads else instance

    def _colour(self, instance: str) -> str:
        return self._colour_of.setdefault(instance, _COLOURS[len(self._colour_of) % len(_COLOURS)])


def _words(line: dict[str, Any]) -> str:
    """What is said; the platform's own lines, which are JSON, as people write them."""
    message = str(line["message"])
    if line.get("project") != PLATFORM or line.get("gap"):
        return message
    try:
        said = json.loads(message)
        named = {name: value for name, value in said.items() if name not in _KNOWN}
        return " ".join(
            [f"{said['level']:<7}", said["message"], *(f"{name}={value}" for name, value in named.items())]
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return message


def short_instance(line: dict[str, Any]) -> str:
    """The end of the instance's id, which tells the instances of a workload apart."""
    return clean_line(str(line.get("instance") or "-"))[-6:]
