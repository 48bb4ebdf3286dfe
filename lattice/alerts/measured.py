"""The alerts that a Prometheus opens, out of what the platform measures; it looks also where the platform itself is away.  Pure data.

What each looks for as an expression is in `dashboards/alert_rules.py`.
"""

from __future__ import annotations

from lattice.alerts.spec import AlertSpec, Witness
from lattice.contracts.messages import AlertSource, Severity


def _measured(
    name: str,
    severity: Severity,
    source: AlertSource,
    summary: str,
    meaning: str,
    *,
    opens_after_s: float = 0.0,
    dashboard: str = "",
) -> AlertSpec:
    return AlertSpec(
        name=name,
        severity=severity,
        source=source,
        summary=summary,
        meaning=meaning,
        witness=Witness.METRICS,
        opens_after_s=opens_after_s,
        dashboard=dashboard,
    )


METRICS_MISSING = _measured(
    "LatticeMetricsMissing",
    Severity.CRITICAL,
    AlertSource.PLATFORM,
    "Prometheus gets no metrics of the platform.",
    "The gateway does not answer it, refuses its token, or has nothing to tell. Every other rule is blind meanwhile.",
    opens_after_s=180.0,
    dashboard="lattice-control-plane",
)
SERVICE_MISSING = _measured(
    "LatticeServiceMissing",
    Severity.CRITICAL,
    AlertSource.SERVICE,
    "A service of the platform is not heard.",
    "No replica of it says anything of itself: it does not run, or has lost the bus.",
    opens_after_s=120.0,
)
SERVICE_NOT_READY = _measured(
    "LatticeServiceNotReady",
    Severity.CRITICAL,
    AlertSource.SERVICE,
    "A service of the platform cannot do its work.",
    "It runs and says that something which it needs is away: the bus or its database.",
    opens_after_s=60.0,
)
SERVICE_RESTARTING = _measured(
    "LatticeServiceRestarting",
    Severity.WARNING,
    AlertSource.SERVICE,
    "A service of the platform starts again and again.",
    "It ended more than twice in a quarter of an hour; its last log lines say with what.",
)
LOOP_FAILING = _measured(
    "LatticeLoopFailing",
    Severity.WARNING,
    AlertSource.SERVICE,
    "Something that a process does all the time fails again and again.",
    "It is started again each time, so the process lives on, but what the loop is for is not done.",
)
DATABASE_AWAY = _measured(
    "LatticeDatabaseAway",
    Severity.CRITICAL,
    AlertSource.PLATFORM,
    "The database does not answer.",
    "Nothing can be changed. What runs goes on, and agents keep it as it was asked for last.",
    opens_after_s=60.0,
    dashboard="lattice-control-plane",
)
DATABASE_CONNECTIONS_LOW = _measured(
    "LatticeDatabaseConnectionsLow",
    Severity.WARNING,
    AlertSource.PLATFORM,
    "The database has hardly a connection left.",
    "More than nine in ten of those that it allows are taken; whoever comes next may be refused.",
    opens_after_s=300.0,
    dashboard="lattice-control-plane",
)
FACTS_DELAYED = _measured(
    "LatticeFactsDelayed",
    Severity.CRITICAL,
    AlertSource.PLATFORM,
    "What happened is not told on the bus.",
    "Facts are committed and stay in the outbox: schedulers, agents and people learn of changes late.",
    opens_after_s=120.0,
    dashboard="lattice-control-plane",
)
SCHEDULER_NOT_LEADING = _measured(
    "LatticeSchedulerNotLeading",
    Severity.CRITICAL,
    AlertSource.PLATFORM,
    "No scheduler leads.",
    "Nothing new gets a place on a node, and nothing moves away from a lost one.",
    opens_after_s=120.0,
    dashboard="lattice-control-plane",
)
QUEUE_GROWING = _measured(
    "LatticeQueueGrowing",
    Severity.WARNING,
    AlertSource.PLATFORM,
    "Messages wait for a part of the platform.",
    "It takes fewer than come: what it does happens later and later.",
    opens_after_s=600.0,
    dashboard="lattice-control-plane",
)
SLOW_CONSUMER = _measured(
    "LatticeSlowConsumer",
    Severity.WARNING,
    AlertSource.PLATFORM,
    "The bus dropped messages for somebody who was too slow.",
    "What must not be lost comes again; what follows live may have holes.",
    dashboard="lattice-control-plane",
)
ERROR_BUDGET_BURNS_FAST = _measured(
    "LatticeErrorBudgetBurnsFast",
    Severity.CRITICAL,
    AlertSource.PLATFORM,
    "An objective is being missed so badly that its month is over in two days.",
    "In the last hour, and in the last five minutes still, more than 14.4 times as much went wrong as the objective allows.",
    opens_after_s=120.0,
    dashboard="lattice-slos",
)
ERROR_BUDGET_BURNS_SLOWLY = _measured(
    "LatticeErrorBudgetBurnsSlowly",
    Severity.WARNING,
    AlertSource.PLATFORM,
    "An objective will be missed if it goes on like this.",
    "In the last six hours, and in the last half hour still, more than 6 times as much went wrong as the objective allows.",
    opens_after_s=900.0,
    dashboard="lattice-slos",
)
ALERTS_NOT_WATCHED = _measured(
    "LatticeAlertsNotWatched",
    Severity.CRITICAL,
    AlertSource.SERVICE,
    "Nobody looks whether something is wrong.",
    "The alerts service has not looked for a while, so none of the platform's own alerts opens.",
    opens_after_s=60.0,
    dashboard="lattice-alerts",
)
ALERTS_NOT_DELIVERED = _measured(
    "LatticeAlertsNotDelivered",
    Severity.WARNING,
    AlertSource.SERVICE,
    "People were not told of alerts.",
    "A sink did not take what was sent to it; each is tried for a day before it is given up.",
    opens_after_s=300.0,
    dashboard="lattice-alerts",
)
NODE_DISK_FILLING = _measured(
    "LatticeNodeDiskFilling",
    Severity.WARNING,
    AlertSource.NODE,
    "The disk of a node will be full within a day.",
    "It would be, if it went on filling as in the last six hours.",
    opens_after_s=1800.0,
)
LOG_SPOOL_GROWING = _measured(
    "LatticeLogSpoolGrowing",
    Severity.WARNING,
    AlertSource.NODE,
    "A node cannot get rid of its log lines.",
    "They wait on its disk; where the spool is full the oldest go.",
    opens_after_s=900.0,
    dashboard="lattice-logs",
)
LOG_LINES_LOST = _measured(
    "LatticeLogLinesLost",
    Severity.WARNING,
    AlertSource.WORKLOAD,
    "Log lines of a workload are lost.",
    "It wrote faster than they could be read or sent on; the log shows a gap where they are missing.",
    dashboard="lattice-logs",
)
LOG_EXPORT_BEHIND = _measured(
    "LatticeLogExportBehind",
    Severity.WARNING,
    AlertSource.PLATFORM,
    "A place to which logs are sent on is far behind.",
    "It is away, refuses, or is too slow; it gets the rest when it can, as long as the logs are kept.",
    opens_after_s=600.0,
    dashboard="lattice-logs",
)
WORKLOAD_MEMORY_NEAR_LIMIT = _measured(
    "LatticeWorkloadMemoryNearLimit",
    Severity.WARNING,
    AlertSource.WORKLOAD,
    "A workload uses nearly all the memory that it may.",
    "Beyond its limit the kernel ends it.",
    opens_after_s=600.0,
)
PUBLIC_NAME_FAILING = _measured(
    "LatticePublicNameFailing",
    Severity.CRITICAL,
    AlertSource.WORKLOAD,
    "Visitors of a workload get errors.",
    "More than one in twenty answers is a 5xx: the workload's own, or the ingress's where no instance answers.",
    opens_after_s=300.0,
    dashboard="lattice-tunnels",
)
