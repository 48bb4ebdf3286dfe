"""What a Prometheus looks for to open an alert, for those that can be seen in metrics.  Pure data.

Where the platform opens the same alert by itself, Prometheus is a second witness that works also while the platform does not: its alert has
the label `lattice_alert: rule`, by which the platform leaves it aside when an Alertmanager brings it back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dashboards.promql import increase, keeping, rose, select
from dashboards.recording_rules import NODE_DISK, NODE_MEMORY, WORKLOAD_ANSWERS, WORKLOAD_ERRORS, burn
from lattice.alerts import ALERTS, AlertSpec, measured, opened
from lattice.contracts.catalogue import SERVICES
from lattice.contracts.messages import PLATFORM, AlertSource
from lattice.metrics.declared import (
    alerts,
    logs,
    nats,
    node,
    postgres,
    process,
    registry,
    scheduler,
    workload,
)
from lattice.metrics.spec import MetricSpec

_MIB = 2**20
# Whether a Prometheus got what it asked for of a node: of one that has been silent for a minute the gateway has nothing to show.
_NODES_ANSWERED = 'up{node!=""}'
_OURS = 'service!="agent"'
_WORKLOAD = ("project", "workload")
# Google's workbook of site reliability: 2 % of a month's budget in an hour, 5 % in six.
_FAST, _SLOW = 14.4, 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRule:
    """The expression of an alert; `description` may use what Prometheus' templates know: `$labels`, `$value`."""

    spec: AlertSpec
    expr: str
    description: str
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def all_labels(self) -> dict[str, str]:
        """The labels that the rule adds."""
        whose = {} if self.spec.source is AlertSource.WORKLOAD else {"project": PLATFORM}
        known = {"lattice_alert": "rule"} if self.spec in ALERTS else {}
        return {"severity": self.spec.severity.value, **whose, **known, **self.labels}


def _worst(spec: MetricSpec, *kept: str, where: str = "", how: str = "max") -> str:
    return keeping(spec, select(spec, where), *kept, how=how)


def _each_missing(spec: MetricSpec) -> str:
    missing = " or ".join(f"absent({select(spec, f'service={chr(34)}{name}{chr(34)}')})" for name in SERVICES)
    return f"({missing}) unless on () absent({select(spec)})"


_OF_SERVICES = (
    AlertRule(
        spec=measured.METRICS_MISSING,
        expr=f"absent({select(process.READY)})",
        description="no service of the platform says anything of itself; look whether the target is up in Prometheus",
        labels={"service": "gateway"},
    ),
    AlertRule(
        spec=measured.SERVICE_MISSING,
        expr=_each_missing(process.READY),
        description="no replica of {{ $labels.service }} is heard",
    ),
    AlertRule(
        spec=measured.SERVICE_NOT_READY,
        expr=f"{_worst(process.READY, 'service', where=_OURS, how='min')} == 0",
        description="{{ $labels.service }} runs and is not ready; its /readyz says what is away",
    ),
    AlertRule(
        spec=measured.SERVICE_RESTARTING,
        expr=f"{keeping(process.START_TIME, f'changes({select(process.START_TIME, _OURS)}[15m])', 'service')} > 2",
        description="{{ $labels.service }} was started {{ $value }} times in 15 minutes",
    ),
    AlertRule(
        spec=measured.LOOP_FAILING,
        expr=f"{keeping(process.LOOP_FAILURES, increase(process.LOOP_FAILURES, over='15m'), 'service', 'loop')} > 5",
        description="the loop {{ $labels.loop }} of {{ $labels.service }} failed {{ $value | humanize }} times in 15 minutes",
    ),
    AlertRule(
        spec=measured.ALERTS_NOT_WATCHED,
        expr=f"time() - {_worst(alerts.LOOKED)} > 120",
        description="the alerts service looked last {{ $value | humanizeDuration }} ago",
        labels={"service": "alerts"},
    ),
    AlertRule(
        spec=measured.ALERTS_NOT_DELIVERED,
        expr=keeping(alerts.DELIVERIES, rose(alerts.DELIVERIES, 'outcome!="sent"', over="15m")) + " > 0",
        description="{{ $value | humanize }} attempts to tell people failed in 15 minutes; `lattice alerts deliveries` says where and why",
        labels={"service": "alerts"},
    ),
)
_OF_THE_PLATFORM = (
    AlertRule(
        spec=measured.DATABASE_AWAY,
        expr=f"{_worst(postgres.UP, how='min')} == 0",
        description="the registry asks Postgres and gets no answer",
        labels={"service": "postgres"},
    ),
    AlertRule(
        spec=measured.DATABASE_CONNECTIONS_LOW,
        expr=(
            f"{keeping(postgres.CONNECTIONS, keeping(postgres.CONNECTIONS, select(postgres.CONNECTIONS), 'service', 'node'), how='max')}"
            f" / {_worst(postgres.MOST_CONNECTIONS)} > 0.9"
        ),
        description="{{ $value | humanizePercentage }} of the connections that Postgres allows are taken",
        labels={"service": "postgres"},
    ),
    AlertRule(
        spec=measured.FACTS_DELAYED,
        expr=f"{_worst(registry.OUTBOX_OLDEST)} > 30",
        description="the oldest fact has waited for the bus for {{ $value | humanizeDuration }}",
        labels={"service": "registry"},
    ),
    AlertRule(
        spec=measured.SCHEDULER_NOT_LEADING,
        expr=f"absent({select(scheduler.LEADING)} == 1) unless on () absent({select(process.READY)})",
        description="no process of the scheduler says that it leads",
        labels={"service": "scheduler"},
    ),
    AlertRule(
        spec=measured.QUEUE_GROWING,
        expr=f"{_worst(nats.CONSUMER_PENDING, 'stream', 'consumer')} > 10000",
        description="{{ $value | humanize }} messages of {{ $labels.stream }} wait for {{ $labels.consumer }}",
        labels={"service": "nats"},
    ),
    AlertRule(
        spec=measured.SLOW_CONSUMER,
        expr=f"{keeping(nats.SLOW_CONSUMERS, increase(nats.SLOW_CONSUMERS, over='15m'), how='max')} > 0",
        description="NATS dropped messages for {{ $value | humanize }} connections in 15 minutes",
        labels={"service": "nats"},
    ),
    AlertRule(
        spec=opened.DEAD_LETTER,
        expr=f"{keeping(registry.DEAD_LETTERS, rose(registry.DEAD_LETTERS, over='1h'), 'stream', 'consumer')} > 0",
        description="{{ $labels.consumer }} gave up {{ $value | humanize }} messages of {{ $labels.stream }} in an hour",
    ),
    AlertRule(
        spec=measured.ERROR_BUDGET_BURNS_FAST,
        expr=f"{burn('1h')} > {_FAST} and {burn('5m')} > {_FAST}",
        description="{{ $labels.slo }}: its budget is used up {{ $value | humanize }} times faster than it lasts",
    ),
    AlertRule(
        spec=measured.ERROR_BUDGET_BURNS_SLOWLY,
        expr=f"{burn('6h')} > {_SLOW:g} and {burn('30m')} > {_SLOW:g}",
        description="{{ $labels.slo }}: its budget is used up {{ $value | humanize }} times faster than it lasts",
    ),
)
_OF_NODES = (
    AlertRule(
        spec=opened.NODE_UNREACHABLE,
        expr=f"{keeping(node.AGE, _NODES_ANSWERED, 'node', how='max')} == 0 unless on () absent({select(process.READY)})",
        description="nothing has been measured on node {{ $labels.node }} for a minute",
    ),
    AlertRule(
        spec=opened.NODE_ENGINE_AWAY,
        expr=f"{_worst(node.ENGINE_UP, 'node')} == 0",
        description="the Docker Engine of node {{ $labels.node }} does not answer its agent",
    ),
    AlertRule(
        spec=opened.NODE_DISK_LOW,
        expr=f"{NODE_DISK.record} > 0.85",
        description="the disk of node {{ $labels.node }} is {{ $value | humanizePercentage }} full",
    ),
    AlertRule(
        spec=measured.NODE_DISK_FILLING,
        expr=(
            f"{keeping(node.DISK_FREE, f'predict_linear({select(node.DISK_FREE)}[6h], 86400)', 'node', how='max')} < 0"
            f" and {NODE_DISK.record} > 0.6"
        ),
        description="the disk of node {{ $labels.node }} will be full within a day",
    ),
    AlertRule(
        spec=opened.NODE_MEMORY_LOW,
        expr=f"{NODE_MEMORY.record} > 0.95",
        description="{{ $value | humanizePercentage }} of the memory of node {{ $labels.node }} is in use",
    ),
    AlertRule(
        spec=opened.NODE_CLOCK_OFF,
        expr=f"abs({_worst(node.CLOCK_OFFSET, 'node')}) > 2",
        description="the clock of node {{ $labels.node }} is {{ $value | humanizeDuration }} off",
    ),
    AlertRule(
        spec=measured.LOG_SPOOL_GROWING,
        expr=f"{_worst(node.LOG_SPOOL, 'node')} > {256 * _MIB}",
        description="{{ $value | humanize1024 }}B of log lines wait on node {{ $labels.node }}",
    ),
)
_OF_WORKLOADS = (
    AlertRule(
        spec=opened.WORKLOAD_CRASH_LOOPING,
        expr=f"{keeping(workload.RESTARTS, increase(workload.RESTARTS, over='10m'), *_WORKLOAD)} > 3",
        description="{{ $labels.project }}/{{ $labels.workload }} was started again {{ $value | humanize }} times in 10 minutes",
    ),
    AlertRule(
        spec=measured.WORKLOAD_MEMORY_NEAR_LIMIT,
        expr=f"{keeping(workload.MEMORY, f'{select(workload.MEMORY)} / {select(workload.MEMORY_LIMIT)}', *_WORKLOAD, how='max')} > 0.95",
        description="an instance of {{ $labels.project }}/{{ $labels.workload }} uses {{ $value | humanizePercentage }} of its memory",
    ),
    AlertRule(
        spec=measured.LOG_LINES_LOST,
        expr=f"{keeping(workload.LOG_DROPPED, increase(workload.LOG_DROPPED, over='15m'), *_WORKLOAD)} > 0",
        description="{{ $value | humanize }} lines of {{ $labels.project }}/{{ $labels.workload }} were lost in 15 minutes",
    ),
    AlertRule(
        spec=measured.PUBLIC_NAME_FAILING,
        expr=f"{WORKLOAD_ERRORS.record} > 0.05 and {WORKLOAD_ANSWERS.record} > 0.1",
        description="{{ $value | humanizePercentage }} of the answers to visitors of {{ $labels.project }}/{{ $labels.workload }} are errors",
    ),
)
_OF_LOGS = (
    AlertRule(
        spec=measured.LOG_EXPORT_BEHIND,
        expr=f"{_worst(logs.EXPORT_LAG, 'sink')} > 900",
        description="the sink {{ $labels.sink }} lacks lines that are {{ $value | humanizeDuration }} old",
        labels={"service": "logs"},
    ),
)

RULES: tuple[AlertRule, ...] = (*_OF_SERVICES, *_OF_THE_PLATFORM, *_OF_NODES, *_OF_WORKLOADS, *_OF_LOGS)
OF_ALERT: dict[str, AlertRule] = {rule.spec.name: rule for rule in RULES}
