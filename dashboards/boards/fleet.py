"""Fleet overview: is all well, and if not, where to look.  Pure data."""

from __future__ import annotations

from dashboards.board import RED_FROM_ONE, Board, Row, Threshold, Unit, number, series, table
from dashboards.promql import increase, largest, or_zero, quantile, rate, select, total
from dashboards.recording_rules import NODE_CPU, NODE_DISK, NODE_MEMORY, WORKLOAD_CPU, WORKLOAD_MEMORY
from lattice.metrics.declared import alerts, node, registry, scheduler, workload

_TO_NODE = "/d/lattice-node?var-node=${__field.labels.node}&${__url_time_range}"
_TO_WORKLOAD = "/d/lattice-workload?var-project=${__field.labels.project}&var-workload=${__field.labels.workload}&${__url_time_range}"
_TO_ALERTS = "/d/lattice-alerts?${__url_time_range}"
_NAME = "{{project}}/{{workload}}"
_NOT_READY = 'state!~"ready|pending|rejected|revoked"'


_NOW = Row(
    title="Now",
    panels=(
        number(
            "Nodes ready",
            "Nodes that take work.",
            Unit.COUNT,
            largest(select(registry.NODES, 'state="ready"')),
        ),
        number(
            "Nodes not ready",
            "Members that are joining, cordoned, draining, degraded or cannot be reached.",
            Unit.COUNT,
            total(largest(select(registry.NODES, _NOT_READY), "state")),
            thresholds=RED_FROM_ONE,
        ),
        number(
            "Instances ready",
            "Instances that serve: they run and their checks are passed.",
            Unit.COUNT,
            or_zero(total(select(workload.READY))),
        ),
        number(
            "Instances not ready",
            "Instances that are there and do not serve.",
            Unit.COUNT,
            or_zero(f"count({select(workload.READY)} == 0)"),
            thresholds=(Threshold(at=1, colour="orange"),),
        ),
        number(
            "Waiting for a place",
            "Instances that no node could take yet.",
            Unit.COUNT,
            largest(select(scheduler.WAITING)),
            thresholds=RED_FROM_ONE,
        ),
        number(
            "Alerts",
            "Alerts of the platform that are not over.",
            Unit.COUNT,
            total(select(alerts.LIVING)),
            thresholds=RED_FROM_ONE,
            link=_TO_ALERTS,
        ),
    ),
)
_NODES = Row(
    title="Nodes",
    panels=(
        series(
            "Processors",
            "Which share of each node's processors is busy.",
            Unit.SHARE,
            {"{{node}}": NODE_CPU.record},
            link=_TO_NODE,
        ),
        series(
            "Memory",
            "Which share of each node's memory is in use.",
            Unit.SHARE,
            {"{{node}}": NODE_MEMORY.record},
            link=_TO_NODE,
        ),
        series(
            "Disks",
            "Which share of each node's disk is in use; above 85 % a node gets no new work.",
            Unit.SHARE,
            {"{{node}}": NODE_DISK.record},
            link=_TO_NODE,
        ),
        series(
            "Nodes by state",
            "All nodes as the registry sees them.",
            Unit.COUNT,
            {"{{state}}": largest(select(registry.NODES), "state")},
            width=12,
            stacked=True,
        ),
        table(
            "Versions",
            "What each node is, and which Lattice and Engine it has.",
            Unit.COUNT,
            {"nodes": largest(select(node.INFO), "node", "agent_version", "engine_version", "arch")},
        ),
    ),
)
_WORK = Row(
    title="Workloads",
    panels=(
        series(
            "Instances by project",
            "Containers that run.",
            Unit.COUNT,
            {"{{project}}": total(select(workload.UP), "project")},
            stacked=True,
        ),
        series(
            "Processors, the ten that take most",
            "Processors that all instances of a workload take together.",
            Unit.COUNT,
            {_NAME: f"topk(10, {WORKLOAD_CPU.record})"},
            link=_TO_WORKLOAD,
        ),
        series(
            "Memory, the ten that need most",
            "Memory that all instances of a workload need together.",
            Unit.BYTES,
            {_NAME: f"topk(10, {WORKLOAD_MEMORY.record})"},
            link=_TO_WORKLOAD,
        ),
        series(
            "Restarts",
            "How often containers were started again, by workload.",
            Unit.COUNT,
            {_NAME: total(increase(workload.RESTARTS), "project", "workload")},
            link=_TO_WORKLOAD,
        ),
        series(
            "Workloads in the registry",
            "By what they are to be.",
            Unit.COUNT,
            {"{{desired}}": largest(select(registry.WORKLOADS), "desired")},
            stacked=True,
        ),
        series(
            "Deploys: from when it may run",
            "How long 95 % of instances took at most until they were placed, pulled, started and ready.",
            Unit.SECONDS,
            {"{{step}}": quantile(0.95, registry.DEPLOY_SECONDS, "", "step")},
        ),
        series(
            "Decisions of the scheduler",
            "Placed, refused because the state had moved, or unplaceable.",
            Unit.PER_SECOND,
            {"{{outcome}}": total(rate(scheduler.DECISIONS), "outcome")},
        ),
        series(
            "Open operations",
            "Deploys, updates and other work that has not ended.",
            Unit.COUNT,
            {"open": largest(select(registry.OPEN_OPERATIONS))},
        ),
    ),
)

BOARD = Board(
    uid="lattice-fleet",
    title="Fleet overview",
    description="All nodes and workloads: is all well, and if not, where to look.",
    rows=(_NOW, _NODES, _WORK),
)
