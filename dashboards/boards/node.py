"""Node: one machine, or several beside each other.  Pure data."""

from __future__ import annotations

from dashboards.board import Board, Row, Threshold, Unit, number, series, table, up_or_down
from dashboards.promql import largest, rate, select, total
from dashboards.recording_rules import NODE_CPU
from dashboards.variables import NODE, OF_NODE
from lattice.metrics.declared import node, workload
from lattice.metrics.spec import MetricSpec


def _now(spec: MetricSpec) -> str:
    return largest(select(spec, OF_NODE), "node")


def _per_second(spec: MetricSpec) -> str:
    return total(rate(spec, OF_NODE), "node")


_TO_WORKLOAD = "/d/lattice-workload?var-project=${__field.labels.project}&var-workload=${__field.labels.workload}&${__url_time_range}"
_STATE = Row(
    title="State",
    panels=(
        number(
            "Heard",
            "How old the newest message of the node is.",
            Unit.SECONDS,
            _now(node.AGE),
            legend="{{node}}",
            thresholds=(Threshold(at=45, colour="orange"), Threshold(at=60, colour="red")),
        ),
        number("Processors", "Processors of the machine.", Unit.COUNT, _now(node.CPUS), legend="{{node}}"),
        number("Memory", "Memory of the machine.", Unit.BYTES, _now(node.MEMORY_SIZE), legend="{{node}}"),
        number(
            "Disk",
            "The disk on which the Engine keeps everything.",
            Unit.BYTES,
            _now(node.DISK_SIZE),
            legend="{{node}}",
        ),
        number(
            "Started",
            "For how long the machine has been up.",
            Unit.SECONDS,
            f"time() - {_now(node.BOOT_TIME)}",
            legend="{{node}}",
        ),
        number(
            "Clock",
            "How far its clock is ahead of the platform's.",
            Unit.SECONDS,
            _now(node.CLOCK_OFFSET),
            legend="{{node}}",
            thresholds=(Threshold(at=2, colour="red"),),
        ),
        up_or_down(
            "Docker Engine", "Whether the Engine answers the agent.", {"{{node}}": _now(node.ENGINE_UP)}
        ),
        table(
            "What it is",
            "Versions of agent and Engine.",
            Unit.COUNT,
            {
                "nodes": largest(
                    select(node.INFO, OF_NODE), "node", "node_id", "agent_version", "engine_version", "arch"
                )
            },
        ),
    ),
)
_MACHINE = Row(
    title="Machine",
    panels=(
        series(
            "Processors", "Which share is busy.", Unit.SHARE, {"{{node}}": f"{NODE_CPU.record}{{{OF_NODE}}}"}
        ),
        series(
            "Load",
            "Processes that ran or wanted to, on average over a minute; beside the number of processors.",
            Unit.COUNT,
            {"{{node}}": _now(node.LOAD1), "{{node}}: processors": _now(node.CPUS)},
        ),
        series(
            "Memory",
            "In use, and what there is.",
            Unit.BYTES,
            {
                "{{node}}": _now(node.MEMORY_USED),
                "{{node}}: all": _now(node.MEMORY_SIZE),
                "{{node}}: swap": _now(node.SWAP_USED),
            },
        ),
        series(
            "Disk",
            "In use, and what may still be written.",
            Unit.BYTES,
            {"{{node}}: used": _now(node.DISK_USED), "{{node}}: free": _now(node.DISK_FREE)},
        ),
        series(
            "Disk traffic",
            "Read from and written to all disks of the machine.",
            Unit.BYTES_PER_SECOND,
            {
                "{{node}}: read": _per_second(node.DISK_READ),
                "{{node}}: written": _per_second(node.DISK_WRITTEN),
            },
        ),
        series(
            "Network",
            "Over the machine's own interfaces.",
            Unit.BYTES_PER_SECOND,
            {
                "{{node}}: received": _per_second(node.NETWORK_RECEIVED),
                "{{node}}: sent": _per_second(node.NETWORK_SENT),
            },
        ),
    ),
)
_AGENT = Row(
    title="Agent",
    panels=(
        series(
            "Containers",
            "Containers of the platform on the node: up, or ended.",
            Unit.COUNT,
            {"{{node}}: {{state}}": largest(select(node.CONTAINERS, OF_NODE), "node", "state")},
            stacked=True,
        ),
        series(
            "Tunnels",
            "Open connections to ingresses, and those of visitors and links in them.",
            Unit.COUNT,
            {"{{node}}: links": _now(node.TUNNEL_LINKS), "{{node}}: streams": _now(node.TUNNEL_STREAMS)},
        ),
        series(
            "Log lines that wait",
            "Bytes on the disk that the log store does not have yet.",
            Unit.BYTES,
            {"{{node}}": _now(node.LOG_SPOOL)},
        ),
        series(
            "Measuring",
            "How long measuring everything took the last time.",
            Unit.SECONDS,
            {"{{node}}": _now(node.MEASURE_SECONDS)},
        ),
    ),
)
_WORK = Row(
    title="Workloads here",
    panels=(
        series(
            "Processors",
            "Processors that workloads take on the chosen nodes.",
            Unit.COUNT,
            {"{{project}}/{{workload}}": total(rate(workload.CPU_SECONDS, OF_NODE), "project", "workload")},
            width=12,
            stacked=True,
            link=_TO_WORKLOAD,
        ),
        series(
            "Memory",
            "Memory that workloads need on the chosen nodes.",
            Unit.BYTES,
            {"{{project}}/{{workload}}": total(select(workload.MEMORY, OF_NODE), "project", "workload")},
            width=12,
            stacked=True,
            link=_TO_WORKLOAD,
        ),
    ),
)

BOARD = Board(
    uid="lattice-node",
    title="Node",
    description="One machine, or several beside each other: what it is, how it fares, what runs on it.",
    rows=(_STATE, _MACHINE, _AGENT, _WORK),
    variables=(NODE,),
)
