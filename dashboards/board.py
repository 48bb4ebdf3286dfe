"""What a dashboard is, as data: rows of panels, each with its queries.  How Grafana wants it is `grafana`'s business.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

COLUMNS = 24


class Look(StrEnum):
    """How a panel shows what its queries find."""

    SERIES = "series"  # lines over time
    NUMBER = "number"  # the newest value, large
    TABLE = "table"  # the newest value of each series
    TIMELINE = "timeline"  # states over time
    LOG = "log"  # lines of logs


class Unit(StrEnum):
    """Units by Grafana's names."""

    NONE = "none"
    COUNT = "short"
    SHARE = "percentunit"
    SECONDS = "s"
    BYTES = "bytes"
    BYTES_PER_SECOND = "binBps"
    PER_SECOND = "cps"
    REQUESTS_PER_SECOND = "reqps"
    MOMENT = "dateTimeFromNow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """An expression, and what its series are called: `{{node}}` stands for a label."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """From which value on something has a colour."""

    at: float
    colour: str


RED_FROM_ONE = (Threshold(at=1, colour="red"),)
"""For what ought to be zero."""
UP_OR_DOWN = (("0", "down"), ("1", "up"))
"""The words for what is 1 while it is well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel; `width` is of 24 columns.  `colour` holds below the first threshold; `link` leads where a click on a series leads."""

    title: str
    description: str
    unit: Unit
    queries: tuple[Query, ...]
    look: Look = Look.SERIES
    width: int = 8
    height: int = 8
    stacked: bool = False
    colour: str = "green"
    thresholds: tuple[Threshold, ...] = ()
    words: tuple[tuple[str, str], ...] = ()  # what is said in place of a value
    link: str = ""
    decimals: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Panels that belong together."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A choice at the head of a dashboard: the values of a label."""

    name: str
    label: str
    query: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One dashboard."""

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]
    variables: tuple[Variable, ...] = ()

    @property
    def panels(self) -> tuple[Panel, ...]:
        """All of them, in their order."""
        return tuple(panel for row in self.rows for panel in row.panels)


def series(
    title: str,
    description: str,
    unit: Unit,
    queries: Mapping[str, str],
    *,
    width: int = 8,
    stacked: bool = False,
    link: str = "",
) -> Panel:
    """Lines over time, or areas on one another; expressions by the legend of their series (`{{node}}` stands for a label)."""
    return Panel(
        title=title,
        description=description,
        unit=unit,
        queries=_queries(queries),
        width=width,
        stacked=stacked,
        link=link,
    )


def number(
    title: str,
    description: str,
    unit: Unit,
    expr: str,
    *,
    legend: str = "",
    width: int = 4,
    thresholds: tuple[Threshold, ...] = (),
    link: str = "",
) -> Panel:
    """The newest value."""
    return Panel(
        title=title,
        description=description,
        unit=unit,
        queries=(Query(expr=expr, legend=legend),),
        look=Look.NUMBER,
        width=width,
        height=4,
        thresholds=thresholds,
        link=link,
    )


def up_or_down(title: str, description: str, queries: Mapping[str, str], *, width: int = 12) -> Panel:
    """What is 1 while it is well, over time."""
    return Panel(
        title=title,
        description=description,
        unit=Unit.NONE,
        queries=_queries(queries),
        look=Look.TIMELINE,
        width=width,
        colour="red",
        thresholds=(Threshold(at=1, colour="green"),),
        words=UP_OR_DOWN,
    )


def table(
    title: str, description: str, unit: Unit, queries: Mapping[str, str], *, width: int = 12, link: str = ""
) -> Panel:
    """The newest values, a row for each series and a column for each query."""
    return Panel(
        title=title,
        description=description,
        unit=unit,
        queries=_queries(queries),
        look=Look.TABLE,
        width=width,
        link=link,
    )


def _queries(queries: Mapping[str, str]) -> tuple[Query, ...]:
    return tuple(Query(expr=expr, legend=legend) for legend, expr in queries.items())
