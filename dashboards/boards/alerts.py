"""Alerts: what is wrong, and whether people hear of it.  Pure data."""

from __future__ import annotations

from dashboards.board import RED_FROM_ONE, Board, Row, Threshold, Unit, number, series, table
from dashboards.promql import increase, largest, or_zero, select, total
from lattice.metrics.declared import alerts

# Prometheus' own series of its alerts.
_FIRING = 'ALERTS{alertname=~"Lattice.+", alertstate="firing"}'

_NOW = Row(
    title="Now",
    panels=(
        number(
            "Critical",
            "Critical alerts of the platform that are not over.",
            Unit.COUNT,
            total(select(alerts.LIVING, 'severity="critical"')),
            thresholds=RED_FROM_ONE,
        ),
        number(
            "Warnings",
            "Warnings of the platform that are not over.",
            Unit.COUNT,
            total(select(alerts.LIVING, 'severity="warning"')),
            thresholds=(Threshold(at=1, colour="orange"),),
        ),
        number(
            "Nobody looks after",
            "Alerts that nobody has acknowledged or silenced.",
            Unit.COUNT,
            total(select(alerts.LIVING, 'state="open"')),
            thresholds=RED_FROM_ONE,
        ),
        number(
            "Of Prometheus",
            "Alerts of the rules for Lattice that fire.",
            Unit.COUNT,
            or_zero(f"count({_FIRING})"),
            thresholds=RED_FROM_ONE,
        ),
        number(
            "Looked",
            "How long ago the alerts service looked last.",
            Unit.SECONDS,
            f"time() - {largest(select(alerts.LOOKED))}",
            thresholds=(Threshold(at=60, colour="orange"), Threshold(at=120, colour="red")),
        ),
        number(
            "Not delivered in an hour",
            "Attempts to tell people that failed.",
            Unit.COUNT,
            or_zero(total(increase(alerts.DELIVERIES, 'outcome!="sent"', over="1h"))),
            thresholds=RED_FROM_ONE,
        ),
    ),
)
_LIVING = Row(
    title="Alerts",
    panels=(
        series(
            "By severity",
            "Alerts of the platform that are not over.",
            Unit.COUNT,
            {"{{severity}}": total(select(alerts.LIVING), "severity")},
            stacked=True,
        ),
        series(
            "By state",
            "Open, acknowledged or silenced.",
            Unit.COUNT,
            {"{{state}}": total(select(alerts.LIVING), "state")},
            stacked=True,
        ),
        table(
            "Rules that fire",
            "Alerts that this Prometheus opened; `lattice alerts ls` shows those of the platform.",
            Unit.COUNT,
            {
                "firing": or_zero(
                    f"count by (alertname, severity, project, node, workload, service) ({_FIRING})"
                )
            },
            width=8,
        ),
    ),
)
_TOLD = Row(
    title="Told",
    panels=(
        series(
            "Changes",
            "Changes of alerts told on the bus; still_here is the dead man's switch.",
            Unit.COUNT,
            {"{{change}}": total(increase(alerts.CHANGES), "change")},
            width=12,
        ),
        series(
            "Deliveries",
            "Attempts to tell people: sent, tried again later, given up.",
            Unit.COUNT,
            {"{{outcome}}": or_zero(total(increase(alerts.DELIVERIES), "outcome"))},
            width=12,
        ),
    ),
)

BOARD = Board(
    uid="lattice-alerts",
    title="Alerts",
    description="What is wrong, and whether people hear of it.",
    rows=(_NOW, _LIVING, _TOLD),
)
