"""SLOs: what Lattice promises of itself, and what is left of each month's budget.  Pure data."""

from __future__ import annotations

from collections.abc import Iterator

from dashboards.board import Board, Panel, Row, Threshold, Unit, number, series
from dashboards.promql import largest, total
from dashboards.recording_rules import ASKED, BUDGET, WINDOWS, WRONG, burn
from dashboards.slos import SLOS, Slo

_MONTH = "30d"
_FAST, _SLOW = 14.4, 6.0


def _row(slo: Slo) -> Row:
    return Row(title=slo.promise, panels=tuple(_panels(slo, f'slo="{slo.name}"')))


def _panels(slo: Slo, where: str) -> Iterator[Panel]:
    wrong, asked = (f"sum_over_time({record}{{{where}}}[{_MONTH}])" for record in (WRONG, ASKED))
    yield number(
        f"{slo.name}: budget left",
        "What is left of what may go wrong in 30 days, as far back as this Prometheus remembers; below zero the objective is missed.",
        Unit.SHARE,
        f"1 - {total(wrong)} / {total(asked)} / {largest(f'{BUDGET}{{{where}}}')}",
        width=6,
    )
    yield number(
        f"{slo.name}: pace now",
        "How many times faster than it lasts the budget was used up in the last hour.",
        Unit.COUNT,
        largest(f"{burn('1h')}{{{where}}}"),
        width=6,
        thresholds=(Threshold(at=_SLOW, colour="orange"), Threshold(at=_FAST, colour="red")),
    )
    yield series(
        f"{slo.name}: pace",
        "How many times faster than it lasts the budget is used up, seen over several windows; alerts open at 14.4 and 6.",
        Unit.COUNT,
        {window: largest(f"{burn(window)}{{{where}}}") for window in WINDOWS},
        width=6,
    )
    yield series(
        f"{slo.name}: asked and wrong",
        "What is asked for, and what of it goes wrong.",
        Unit.PER_SECOND,
        {"asked": total(f"{ASKED}{{{where}}}"), "wrong": total(f"{WRONG}{{{where}}}")},
        width=6,
    )


BOARD = Board(
    uid="lattice-slos",
    title="SLOs",
    description="What Lattice promises of itself, and what is left of each month's budget.",
    rows=tuple(_row(slo) for slo in SLOS),
)
