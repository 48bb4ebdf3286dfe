"""Lays out tables for people.  Pure: rows and a width in, padded cells out.

A row never wraps: where the terminal is too narrow, the least important columns are left out first, then the widest cells that may be cut
are cut.  Into a pipe or a file nothing is cut, so that `lattice ps | grep` sees everything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.cells import cell_len, set_cell_size

from cli.sanitize import clean_line

GAP = 2
_CUT_TO_AT_LEAST = 10


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its title and how a cell comes from an item and the present."""

    title: str
    cell: Callable[[Mapping[str, Any], datetime], Any]
    leave_out: int = 0  # 0: never; the highest goes first
    whole: bool = False  # such as a URL, which is of no use when cut
    right: bool = False


def field(title: str, key: str, **layout: Any) -> Column:
    """A column that shows the item's field `key`."""
    return Column(title, lambda item, _now: item.get(key), **layout)


def cells(columns: Sequence[Column], items: Sequence[Mapping[str, Any]], *, now: datetime) -> list[list[str]]:
    """The title row and a row per item, as clean text; `-` where there is nothing to show."""
    rows = [[_text(column.cell(item, now)) for column in columns] for item in items]
    return [[column.title for column in columns], *rows]


def _text(value: Any) -> str:
    return "-" if value is None or value == "" else clean_line(str(value))


def fit(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None) -> dict[int, int]:
    """Which columns are shown, and how wide: index -> width.  `width` None means that nothing limits them."""
    widths = {index: max(cell_len(row[index]) for row in rows) for index in range(len(columns))}
    if width is None:
        return widths
    for index in sorted(widths, key=lambda index: -columns[index].leave_out):
        if _total(widths) <= width or columns[index].leave_out == 0:
            break
        del widths[index]
    return _cut(columns, widths, width)


def _total(widths: Mapping[int, int]) -> int:
    return sum(widths.values()) + GAP * (len(widths) - 1)


def _cut(columns: Sequence[Column], widths: dict[int, int], width: int) -> dict[int, int]:
    excess = _total(widths) - width
    for index in sorted(widths, key=lambda index: -widths[index]):
        if excess <= 0:
            break
        if not columns[index].whole:
            room = max(widths[index] - _CUT_TO_AT_LEAST, 0)
            widths[index] -= min(room, excess)
            excess -= room
    return widths


def padded(columns: Sequence[Column], row: Sequence[str], widths: Mapping[int, int]) -> list[str]:
    """The shown cells of a row at their widths; the last is not filled up."""
    last = max(widths)
    return [
        _pad(
            row[index],
            0 if index == last and not columns[index].right else size,
            size,
            right=columns[index].right,
        )
        for index, size in widths.items()
    ]


def _pad(text: str, fill_to: int, size: int, *, right: bool) -> str:
    if cell_len(text) > size:
        text = set_cell_size(text, size - 1).rstrip() + "…"
    fill = " " * max(fill_to - cell_len(text), 0)
    return fill + text if right else text + fill
