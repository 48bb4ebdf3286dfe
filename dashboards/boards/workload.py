"""Workload: what it takes, whether it serves, and what its visitors get.  Pure data."""

from __future__ import annotations

from dashboards.board import RED_FROM_ONE, Board, Row, Unit, number, series, table, up_or_down
from dashboards.promql import increase, largest, or_zero, rate, select, total
from dashboards.variables import OF_WORKLOAD, PROJECT, WORKLOAD
from lattice.metrics.declared import ingress
from lattice.metrics.declared import workload as w
from lattice.metrics.spec import MetricSpec

_INSTANCE = ("project", "workload", "node", "instance")
_NAME = "{{workload}} {{instance}}"


def _now(spec: MetricSpec) -> str:
    return largest(select(spec, OF_WORKLOAD), *_INSTANCE)


def _per_second(spec: MetricSpec) -> str:
    return total(rate(spec, OF_WORKLOAD), *_INSTANCE)


_STATE = Row(
    title="State",
    panels=(
        number("Ready", "Instances that serve.", Unit.COUNT, total(select(w.READY, OF_WORKLOAD))),
        number(
            "Not ready",
            "Instances that are there and do not serve.",
            Unit.COUNT,
            or_zero(f"count({select(w.READY, OF_WORKLOAD)} == 0)"),
            thresholds=RED_FROM_ONE,
        ),
        number(
            "Restarts in an hour",
            "How often its containers were started again.",
            Unit.COUNT,
            total(increase(w.RESTARTS, OF_WORKLOAD, over="1h")),
            thresholds=RED_FROM_ONE,
        ),
        number(
            "Lost log lines in an hour",
            "Lines that it wrote and nobody has.",
            Unit.COUNT,
            total(increase(w.LOG_DROPPED, OF_WORKLOAD, over="1h")),
            thresholds=RED_FROM_ONE,
        ),
        number(
            "Processors",
            "Processors that it takes, all instances together.",
            Unit.COUNT,
            total(rate(w.CPU_SECONDS, OF_WORKLOAD)),
        ),
        number(
            "Memory",
            "Memory that it needs, all instances together.",
            Unit.BYTES,
            total(select(w.MEMORY, OF_WORKLOAD)),
        ),
        up_or_down(
            "Serving", "Whether each instance runs and its checks are passed.", {_NAME: _now(w.READY)}
        ),
        table(
            "Instances",
            "Where they are and for how long their containers have run.",
            Unit.SECONDS,
            {"running for": f"time() - {_now(w.START_TIME)}"},
            link="/d/lattice-node?var-node=${__data.fields.node}&${__url_time_range}",
        ),
    ),
)
_USE = Row(
    title="What it takes",
    panels=(
        series(
            "Processors",
            "Processors that each instance takes, and may take.",
            Unit.COUNT,
            {_NAME: _per_second(w.CPU_SECONDS), f"{_NAME}: limit": _now(w.CPU_LIMIT)},
        ),
        series(
            "Held back",
            "Time per second in which it had to wait because of its limit.",
            Unit.SECONDS,
            {_NAME: _per_second(w.CPU_THROTTLED)},
        ),
        series(
            "Memory",
            "Memory that each instance needs, and may use; beyond it the kernel ends it.",
            Unit.BYTES,
            {_NAME: _now(w.MEMORY), f"{_NAME}: limit": _now(w.MEMORY_LIMIT)},
        ),
        series(
            "Network",
            "Received and sent.",
            Unit.BYTES_PER_SECOND,
            {
                f"{_NAME}: received": _per_second(w.NETWORK_RECEIVED),
                f"{_NAME}: sent": _per_second(w.NETWORK_SENT),
            },
        ),
        series(
            "Disk traffic",
            "Read from and written to disks.",
            Unit.BYTES_PER_SECOND,
            {f"{_NAME}: read": _per_second(w.BLOCK_READ), f"{_NAME}: written": _per_second(w.BLOCK_WRITTEN)},
        ),
        series("Processes", "Processes and threads.", Unit.COUNT, {_NAME: _now(w.PROCESSES)}),
    ),
)
_OUT = Row(
    title="What comes of it",
    panels=(
        series(
            "Restarts",
            "How often each container was started again.",
            Unit.COUNT,
            {_NAME: total(increase(w.RESTARTS, OF_WORKLOAD), *_INSTANCE)},
        ),
        series("Log lines", "Lines that it writes.", Unit.PER_SECOND, {_NAME: _per_second(w.LOG_LINES)}),
        series(
            "Answers to visitors",
            "Answers by class of status, for public names.",
            Unit.REQUESTS_PER_SECOND,
            {
                "{{workload}}: {{status}}": or_zero(
                    total(rate(ingress.ANSWERS, OF_WORKLOAD), "workload", "status")
                )
            },
            stacked=True,
        ),
    ),
)

BOARD = Board(
    uid="lattice-workload",
    title="Workload",
    description="What a workload takes, whether it serves, and what its visitors get.",
    rows=(_STATE, _USE, _OUT),
    variables=(PROJECT, WORKLOAD),
)
