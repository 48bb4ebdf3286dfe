"""How the platform's own commands speak: answers to standard output, everything else to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

TABLE, JSON, YAML, NAME = "table", "json", "yaml", "name"


def say(text: str) -> None:
    """A sentence for a person who watches."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def answer(text: str) -> None:
    """The answer itself."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def answer_data(data: Any, *, output: str) -> None:
    """The answer for a program, as JSON or YAML."""
    if output == YAML:
        import yaml

        answer(yaml.safe_dump(data, sort_keys=False, allow_unicode=True).rstrip())
        return
    answer(json.dumps(data, ensure_ascii=False, indent=2))


def is_for_programs(output: str) -> bool:
    return output in (JSON, YAML)


def answer_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, styles: Mapping[str, str]) -> None:
    """A table; a cell whose text is in `styles` gets that colour where the terminal has colours."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=styles.get(cell, "")) for cell in row))
    Console(file=sys.stdout).print(table)
