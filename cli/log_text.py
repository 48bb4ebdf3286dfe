"""How log lines look: with several instances, each line begins with whose it is; what went to stderr is marked."""

from __future__ import annotations

from typing import Any

from cli.output import OutputFormat, Screen, to_json, to_yaml
from cli.sanitize import clean_line, clean_text

_COLOURS = ("cyan", "magenta", "green", "yellow", "blue")


class LogPrinter:
    """Prints one line after another."""

    def __init__(self, screen: Screen, *, timestamps: bool) -> None:
        self._screen = screen
        self._timestamps = timestamps
        self._colour_of: dict[str, str] = {}
        self._console = screen.answer_console()

    def show(self, line: dict[str, Any]) -> None:
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
        self._screen.write(f"{time}{short_instance(line)} │ {clean_text(str(line['message']))}")

    def _show_coloured(self, line: dict[str, Any]) -> None:
        from rich.text import Text

        text = Text()
        if self._timestamps:
            text.append(clean_line(line["time"]) + " ", style="dim")
        instance = short_instance(line)
        text.append(f"{instance} ", style=self._colour(instance))
        text.append("│ ", style="red" if line.get("stream") == "stderr" else "dim")
        text.append(clean_text(str(line["message"])))
        self._console.print(text)

    def _colour(self, instance: str) -> str:
        return self._colour_of.setdefault(instance, _COLOURS[len(self._colour_of) % len(_COLOURS)])


def short_instance(line: dict[str, Any]) -> str:
    """The end of the instance's id, which tells the instances of a workload apart."""
    return clean_line(str(line.get("instance") or "-"))[-6:]
