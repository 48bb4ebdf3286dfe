"""Logs: from the container to the store and on to other places, with the lines themselves.  Pure data."""

from __future__ import annotations

from dashboards.board import Board, Look, Panel, Query, Row, Unit, series
from dashboards.promql import increase, largest, or_zero, quantile, rate, select, total
from dashboards.variables import NODE, OF_NODE, OF_WORKLOAD, PROJECT, WORKLOAD
from lattice.metrics.declared import logs, node
from lattice.metrics.declared import workload as w

_NAME = "{{project}}/{{workload}}"
_OF_BOTH = f"{OF_WORKLOAD}, {OF_NODE}"

_LINES = Row(
    title="Lines",
    panels=(
        Panel(
            title="Lines",
            description="What the chosen workloads wrote, newest first; a line of the stream `gap` stands where some are missing.",
            unit=Unit.NONE,
            queries=(Query(expr='{project=~"$project", workload=~"$workload", node=~"$node"}'),),
            look=Look.LOG,
            width=24,
            height=10,
        ),
    ),
)
_WRITTEN = Row(
    title="Written",
    panels=(
        series(
            "Lines",
            "Lines that workloads write, the ten loudest.",
            Unit.PER_SECOND,
            {_NAME: f"topk(10, {total(rate(w.LOG_LINES, _OF_BOTH), 'project', 'workload')})"},
        ),
        series(
            "Bytes",
            "The same in bytes, as the Engine writes them.",
            Unit.BYTES_PER_SECOND,
            {_NAME: f"topk(10, {total(rate(w.LOG_BYTES, _OF_BOTH), 'project', 'workload')})"},
        ),
        series(
            "Lost",
            "Lines that nobody has.",
            Unit.COUNT,
            {_NAME: total(increase(w.LOG_DROPPED, _OF_BOTH), "project", "workload")},
        ),
        series(
            "Waiting on nodes",
            "Bytes that the log store does not have yet, on each node's disk.",
            Unit.BYTES,
            {"{{node}}": largest(select(node.LOG_SPOOL, OF_NODE), "node")},
        ),
    ),
)
_STORED = Row(
    title="Stored",
    panels=(
        series(
            "Blocks",
            "Blocks that arrive: stored, repeated, refused or invalid.",
            Unit.PER_SECOND,
            {"{{outcome}}": or_zero(total(rate(logs.BLOCKS), "outcome"))},
        ),
        series(
            "Lines stored", "Lines that the store takes.", Unit.PER_SECOND, {"lines": total(rate(logs.LINES))}
        ),
        series(
            "Bytes stored",
            "Bytes of blocks, compressed.",
            Unit.BYTES_PER_SECOND,
            {"bytes": total(rate(logs.BYTES))},
        ),
        series("Kept", "Bytes of all segments.", Unit.BYTES, {"kept": total(select(logs.KEPT_BYTES))}),
        series(
            "Gaps",
            "Places where lines are missing, and lines that are known to be missing.",
            Unit.COUNT,
            {
                "gaps: {{cause}}": or_zero(total(increase(logs.GAPS), "cause")),
                "lines: {{cause}}": or_zero(total(increase(logs.GAP_LINES), "cause")),
            },
        ),
        series(
            "Segments",
            "Made smaller, copied to the object store, local copies dropped; damaged blocks met.",
            Unit.COUNT,
            {
                "packed": total(increase(logs.PACKED)),
                "{{what}}": or_zero(total(increase(logs.TIERED), "what")),
                "damaged": total(increase(logs.DAMAGED)),
            },
        ),
        series(
            "Searches",
            "How long 50 and 99 % of searches took at most.",
            Unit.SECONDS,
            {f"{share:.0%}": quantile(share, logs.QUERY_SECONDS) for share in (0.5, 0.99)},
        ),
    ),
)
_SENT_ON = Row(
    title="Sent on",
    panels=(
        series(
            "Lines",
            "Lines that each sink has taken.",
            Unit.PER_SECOND,
            {"{{sink}}": or_zero(total(rate(logs.EXPORTED), "sink"))},
        ),
        series(
            "Behind",
            "For how long the oldest lines that a sink lacks have been stored.",
            Unit.SECONDS,
            {"{{sink}}": or_zero(largest(select(logs.EXPORT_LAG), "sink"))},
        ),
        series(
            "Failed and lost",
            "Attempts that failed, and lines that a sink will never have.",
            Unit.COUNT,
            {
                "{{sink}}: failed": or_zero(total(increase(logs.EXPORT_FAILURES), "sink")),
                "{{sink}}: lost, {{reason}}": or_zero(total(increase(logs.EXPORT_LOST), "sink", "reason")),
            },
        ),
    ),
)

BOARD = Board(
    uid="lattice-logs",
    title="Logs",
    description="Log lines on their way from containers to the store, and on to other places.",
    rows=(_LINES, _WRITTEN, _STORED, _SENT_ON),
    variables=(NODE, PROJECT, WORKLOAD),
)
