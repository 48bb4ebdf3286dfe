"""Where panels lie on Grafana's grid of 24 columns.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dashboards.board import COLUMNS, Panel, Row

_HEADLINE_HEIGHT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A rectangle of the grid."""

    x: int
    y: int
    width: int
    height: int


def placed(rows: Iterable[Row]) -> Iterator[tuple[Row | Panel, Place]]:
    """Rows below one another, each with its panels from left to right; a panel that does not fit begins a new line."""
    y = 0
    for row in rows:
        yield row, Place(x=0, y=y, width=COLUMNS, height=_HEADLINE_HEIGHT)
        y += _HEADLINE_HEIGHT
        x = line_height = 0
        for panel in row.panels:
            if x + panel.width > COLUMNS:
                x, y, line_height = 0, y + line_height, 0
            yield panel, Place(x=x, y=y, width=panel.width, height=panel.height)
            x, line_height = x + panel.width, max(line_height, panel.height)
        y += line_height
