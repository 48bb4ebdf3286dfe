"""What Prometheus computes ahead, because several panels and alerts ask for it.  Pure data; names are `level:metric:operations`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from dashboards.promql import keeping, rate, select
from dashboards.slos import SLOS, Slo
from lattice.metrics.declared import gateway, ingress, node, workload

PAGES = "lattice_pages_info"
"""Written by hand (infra/prometheus/lattice-pages.yaml): where documentation, Grafana and console of this platform are, as labels."""
WINDOWS = ("5m", "30m", "1h", "6h")
_OVER = "5m"
_OF_WORKLOADS = ("project", "workload")
_FAILED = 'status="5xx"'


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingRule:
    """A series that is computed from others; `meaning` is for people who find it."""

    record: str
    expr: str
    meaning: str
    labels: Mapping[str, str] = field(default_factory=dict)


def _node(expression: str, how: str = "max") -> str:
    return keeping(node.CPUS, expression, "node", how=how)


NODE_CPU = RecordingRule(
    record="node:lattice_node_cpu_used:ratio_rate5m",
    meaning="Which share of a node's processors is busy.",
    expr=f"{_node(rate(node.CPU_SECONDS, over=_OVER), 'sum')} / {_node(select(node.CPUS))}",
)
NODE_MEMORY = RecordingRule(
    record="node:lattice_node_memory_used:ratio",
    meaning="Which share of a node's memory is in use.",
    expr=f"{_node(select(node.MEMORY_USED))} / {_node(select(node.MEMORY_SIZE))}",
)
NODE_DISK = RecordingRule(
    record="node:lattice_node_disk_used:ratio",
    meaning="Which share of a node's disk is in use, of what may be written to: as the platform's watermark counts it.",
    expr=(
        f"{_node(select(node.DISK_USED))}"
        f" / ({_node(select(node.DISK_USED))} + {_node(select(node.DISK_FREE))})"
    ),
)
WORKLOAD_CPU = RecordingRule(
    record="project_workload:lattice_workload_cpu_seconds:rate5m",
    meaning="Processors that all instances of a workload take together.",
    expr=keeping(workload.CPU_SECONDS, rate(workload.CPU_SECONDS, over=_OVER), *_OF_WORKLOADS),
)
WORKLOAD_MEMORY = RecordingRule(
    record="project_workload:lattice_workload_memory_bytes:sum",
    meaning="Memory that all instances of a workload need together.",
    expr=keeping(workload.MEMORY, select(workload.MEMORY), *_OF_WORKLOADS),
)
WORKLOAD_ANSWERS = RecordingRule(
    record="project_workload:lattice_ingress_answers:rate5m",
    meaning="Answers to visitors of a workload per second.",
    expr=keeping(ingress.ANSWERS, rate(ingress.ANSWERS, over=_OVER), *_OF_WORKLOADS),
)
WORKLOAD_ERRORS = RecordingRule(
    record="project_workload:lattice_ingress_errors:ratio_rate5m",
    meaning="Which share of the answers to visitors of a workload is a 5xx.",
    expr=(
        f"({keeping(ingress.ANSWERS, rate(ingress.ANSWERS, _FAILED, over=_OVER), *_OF_WORKLOADS)}"
        f" or 0 * {WORKLOAD_ANSWERS.expr}) / {WORKLOAD_ANSWERS.expr}"
    ),
)
REQUESTS = RecordingRule(
    record="method_path_status:lattice_gateway_requests:rate5m",
    meaning="Requests to the gateway per second.",
    expr=keeping(
        gateway.REQUEST_SECONDS,
        rate(gateway.REQUEST_SECONDS, part="count", over=_OVER),
        "method",
        "path",
        "status",
    ),
)

PLAIN: tuple[RecordingRule, ...] = (
    NODE_CPU,
    NODE_MEMORY,
    NODE_DISK,
    WORKLOAD_CPU,
    WORKLOAD_MEMORY,
    WORKLOAD_ANSWERS,
    WORKLOAD_ERRORS,
    REQUESTS,
)

# --- objectives --------------------------------------------------------------------------------------------

ASKED = "slo:lattice_asked:rate5m"
WRONG = "slo:lattice_wrong:rate5m"
BUDGET = "slo:lattice_error_budget:ratio"


def burn(window: str) -> str:
    """The name of the series that says how fast budgets are used up, as seen over a window."""
    return f"slo:lattice_error_budget_burn:ratio_rate{window}"


def _of_slo(slo: Slo) -> Iterator[RecordingRule]:
    labels = {"slo": slo.name, "service": slo.service}
    whole = (
        (ASKED, slo.asked(_OVER), "What is asked for per second."),
        (WRONG, slo.wrong(_OVER), "What of it goes wrong."),
        (BUDGET, f"vector({slo.budget})", "The share that may go wrong."),
    )
    for record, expr, meaning in whole:
        yield RecordingRule(record=record, expr=expr, meaning=meaning, labels=labels)
    for window in WINDOWS:
        yield RecordingRule(
            record=burn(window),
            # Where nobody asks nothing goes wrong; dividing by it would be no number.
            expr=f"({slo.wrong(window)} / ({slo.asked(window)} > 0) or 0 * {slo.asked(window)}) / {slo.budget}",
            meaning=f"How many times faster than it lasts the budget is used up, over {window}.",
            labels=labels,
        )


OF_SLOS: tuple[RecordingRule, ...] = tuple(rule for slo in SLOS for rule in _of_slo(slo))
RECORDED: frozenset[str] = frozenset(rule.record for rule in (*PLAIN, *OF_SLOS)) | {PAGES}
"""All names that there are."""
