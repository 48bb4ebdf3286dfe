"""Control plane: services, the gateway, the bus, the registry, the scheduler, NATS, Postgres.  Pure data."""

from __future__ import annotations

from dashboards.board import Board, Row, Unit, series, table, up_or_down
from dashboards.boards import servers
from dashboards.promql import increase, largest, or_zero, quantile, rate, select, total
from dashboards.recording_rules import REQUESTS
from dashboards.variables import OF_SERVICE, SERVICE
from lattice.metrics.declared import bus, gateway, metrics, process, registry, scheduler
from lattice.metrics.spec import MetricSpec

_PROCESS = ("service", "node")
_NAME = "{{service}} {{node}}"


def _now(spec: MetricSpec) -> str:
    return largest(select(spec, OF_SERVICE), *_PROCESS)


_SERVICES = Row(
    title="Services",
    panels=(
        up_or_down("Ready", "Whether each process can do its work.", {_NAME: _now(process.READY)}),
        up_or_down(
            "Link to NATS", "Whether each process is connected to the bus.", {_NAME: _now(bus.LINK_UP)}
        ),
        table(
            "Processes",
            "Versions, and for how long each has run.",
            Unit.SECONDS,
            {
                "running for": f"time() - {_now(process.START_TIME)}",
                "version": largest(select(process.INFO, OF_SERVICE), *_PROCESS, "version"),
            },
        ),
        series(
            "Processors",
            "Processor time that each process takes.",
            Unit.COUNT,
            {_NAME: total(rate(process.CPU_SECONDS, OF_SERVICE), *_PROCESS)},
            width=6,
        ),
        series(
            "Memory",
            "Memory that each process holds.",
            Unit.BYTES,
            {_NAME: _now(process.RESIDENT_BYTES)},
            width=6,
        ),
        series(
            "Open files",
            "Files and connections that each process has open.",
            Unit.COUNT,
            {_NAME: _now(process.OPEN_FDS)},
        ),
        series(
            "Log records",
            "Warnings and errors that processes logged.",
            Unit.PER_SECOND,
            {
                "{{service}}: {{level}}": or_zero(
                    total(
                        rate(process.LOG_RECORDS, f'{OF_SERVICE}, level=~"warning|error|critical"'),
                        "service",
                        "level",
                    )
                )
            },
        ),
        series(
            "Failed loops",
            "Background loops that failed and were started again.",
            Unit.COUNT,
            {
                "{{service}}: {{loop}}": or_zero(
                    total(increase(process.LOOP_FAILURES, OF_SERVICE), "service", "loop")
                )
            },
        ),
    ),
)
_GATEWAY = Row(
    title="Gateway",
    panels=(
        series(
            "Requests",
            "By status.",
            Unit.REQUESTS_PER_SECOND,
            {"{{status}}": total(REQUESTS.record, "status")},
            stacked=True,
        ),
        series(
            "Time of changes",
            "How long 50, 95 and 99 % of POST, PUT, PATCH and DELETE took at most.",
            Unit.SECONDS,
            {
                f"{share:.0%}": quantile(share, gateway.REQUEST_SECONDS, 'method=~"POST|PUT|PATCH|DELETE"')
                for share in (0.5, 0.95, 0.99)
            },
        ),
        series(
            "Slowest routes",
            "How long 99 % of requests took at most, the ten slowest; streams last as long as they are open.",
            Unit.SECONDS,
            {
                "{{method}} {{path}}": f"topk(10, {quantile(0.99, gateway.REQUEST_SECONDS, '', 'method', 'path')})"
            },
        ),
    ),
)
_BUS = Row(
    title="Bus, as the services see it",
    panels=(
        series(
            "Messages",
            "Sent and received, by channel.",
            Unit.PER_SECOND,
            {
                "{{channel}} sent": total(rate(bus.PUBLISHED, OF_SERVICE), "channel"),
                "{{channel}} received": total(rate(bus.RECEIVED, OF_SERVICE), "channel"),
            },
        ),
        series(
            "Handled",
            "Messages handled: done, again, given up or failed.",
            Unit.PER_SECOND,
            {"{{outcome}}": total(rate(bus.HANDLED, OF_SERVICE), "outcome")},
            stacked=True,
        ),
        series(
            "Came again",
            "Messages that arrived for a second or later time.",
            Unit.PER_SECOND,
            {
                "{{service}}: {{channel}}": or_zero(
                    total(rate(bus.REDELIVERED, OF_SERVICE), "service", "channel")
                )
            },
        ),
        series(
            "Requests: asked",
            "How long 99 % of requests between services took at most, as who asks sees it.",
            Unit.SECONDS,
            {"{{rpc}}": quantile(0.99, bus.ASKED, OF_SERVICE, "rpc")},
        ),
        series(
            "Requests: answered",
            "The same as who answers sees it.",
            Unit.SECONDS,
            {"{{rpc}}": quantile(0.99, bus.SERVED, OF_SERVICE, "rpc")},
        ),
        series(
            "Links and problems",
            "Links to NATS that came up, and what NATS or its client complained about.",
            Unit.COUNT,
            {
                "{{service}}: connected": total(increase(bus.LINKS_MADE, OF_SERVICE), "service"),
                "{{service}}: {{kind}}": or_zero(
                    total(increase(bus.LINK_PROBLEMS, OF_SERVICE), "service", "kind")
                ),
            },
        ),
    ),
)
_REGISTRY = Row(
    title="Registry and scheduler",
    panels=(
        series(
            "Outbox",
            "What is committed and not on the bus yet.",
            Unit.COUNT,
            {"{{kind}}": largest(select(registry.OUTBOX_ROWS), "kind")},
        ),
        series(
            "Oldest fact that waits",
            "For how long it has.",
            Unit.SECONDS,
            {"oldest": largest(select(registry.OUTBOX_OLDEST))},
        ),
        series(
            "From commit to bus",
            "How long 50 and 99 % of facts took at most.",
            Unit.SECONDS,
            {f"{share:.0%}": quantile(share, registry.RELAY_SECONDS) for share in (0.5, 0.99)},
        ),
        series(
            "Dead letters",
            "Messages that no consumer could handle.",
            Unit.COUNT,
            {
                "{{stream}} {{consumer}}": or_zero(
                    total(increase(registry.DEAD_LETTERS), "stream", "consumer")
                )
            },
        ),
        series(
            "Instances",
            "Those that are not gone, by phase.",
            Unit.COUNT,
            {"{{phase}}": largest(select(registry.INSTANCES), "phase")},
        ),
        series(
            "Not yet as wanted",
            "Workloads that are to run and are not, or not yet, as they are to be.",
            Unit.COUNT,
            {"workloads": largest(select(registry.UNSETTLED))},
        ),
        up_or_down(
            "Leading",
            "Which scheduler leads.",
            {"{{node}}": largest(select(scheduler.LEADING), *_PROCESS)},
            width=8,
        ),
        series(
            "Scheduling",
            "How long 99 % of rounds, and of decisions on one batch in them, took at most.",
            Unit.SECONDS,
            {
                "round": quantile(0.99, scheduler.ROUND_SECONDS),
                "deciding": quantile(0.99, scheduler.PLACE_SECONDS),
            },
        ),
        series(
            "Why nothing fits",
            "Decisions that an instance fits nowhere, under each filter that passed over a node.",
            Unit.PER_SECOND,
            {"{{reason}}": or_zero(total(rate(scheduler.UNPLACEABLE), "reason"))},
        ),
    ),
)
_METRICS = Row(
    title="Metrics",
    panels=(
        series(
            "Sources",
            "Nodes and services that are heard.",
            Unit.COUNT,
            {"{{kind}}": largest(select(metrics.SOURCES), "kind")},
        ),
        series(
            "Messages",
            "Taken, refused, or late.",
            Unit.PER_SECOND,
            {
                "{{outcome}}": total(rate(metrics.MESSAGES), "outcome"),
                "row refused: {{reason}}": or_zero(total(rate(metrics.REFUSED), "reason")),
            },
        ),
        series(
            "History",
            "Series of which a day is kept, and those for which there was no room.",
            Unit.COUNT,
            {
                "kept": largest(select(metrics.SERIES)),
                "refused": total(increase(metrics.SERIES_REFUSED)),
            },
        ),
        series(
            "Size of the history",
            "On its disk.",
            Unit.BYTES,
            {"size": largest(select(metrics.HISTORY_BYTES))},
        ),
    ),
)

BOARD = Board(
    uid="lattice-control-plane",
    title="Control plane",
    description="The platform's own services, its bus and its database.",
    rows=(_SERVICES, _GATEWAY, _BUS, _REGISTRY, servers.NATS, servers.POSTGRES, _METRICS),
    variables=(SERVICE,),
)
