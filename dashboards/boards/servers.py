"""The rows about NATS and Postgres.  Pure data."""

from __future__ import annotations

from dashboards.board import Row, Unit, series, up_or_down
from dashboards.promql import increase, largest, rate, select, total
from lattice.metrics.declared import nats, postgres

NATS = Row(
    title="NATS",
    panels=(
        series(
            "Servers and connections",
            "Servers that answer, and open connections.",
            Unit.COUNT,
            {"servers": largest(select(nats.UP)), "connections": largest(select(nats.CONNECTIONS))},
        ),
        series(
            "Messages",
            "That come in and go out.",
            Unit.PER_SECOND,
            {"in": largest(rate(nats.IN_MESSAGES)), "out": largest(rate(nats.OUT_MESSAGES))},
        ),
        series(
            "Traffic",
            "Bytes that come in and go out.",
            Unit.BYTES_PER_SECOND,
            {"in": largest(rate(nats.IN_BYTES)), "out": largest(rate(nats.OUT_BYTES))},
        ),
        series(
            "Kept by streams",
            "Messages that each stream keeps.",
            Unit.COUNT,
            {"{{stream}}": largest(select(nats.STREAM_MESSAGES), "stream")},
        ),
        series(
            "Size of streams",
            "Bytes that each stream keeps.",
            Unit.BYTES,
            {"{{stream}}": largest(select(nats.STREAM_BYTES), "stream")},
        ),
        series(
            "Queues",
            "Messages that wait for a consumer, and those that it has and has not settled.",
            Unit.COUNT,
            {
                "{{consumer}} waiting": largest(select(nats.CONSUMER_PENDING), "stream", "consumer"),
                "{{consumer}} taken": largest(select(nats.CONSUMER_UNACKNOWLEDGED), "stream", "consumer"),
            },
        ),
        series(
            "Slow consumers",
            "Connections that took their messages too slowly and lost some.",
            Unit.COUNT,
            {"slow": largest(increase(nats.SLOW_CONSUMERS))},
        ),
        series(
            "Memory", "Memory that the servers hold.", Unit.BYTES, {"memory": largest(select(nats.MEMORY))}
        ),
    ),
)
POSTGRES = Row(
    title="Postgres",
    panels=(
        up_or_down(
            "Answers", "Whether the database answers.", {"database": f"min({select(postgres.UP)})"}, width=8
        ),
        series(
            "Connections",
            "By state, and how many the server allows.",
            Unit.COUNT,
            {
                "{{state}}": largest(select(postgres.CONNECTIONS), "state"),
                "allowed": largest(select(postgres.MOST_CONNECTIONS)),
            },
        ),
        series(
            "Pools",
            "Connections of each service's own pool.",
            Unit.COUNT,
            {"{{service}}: {{state}}": total(select(postgres.POOL), "service", "state")},
        ),
        series(
            "Transactions",
            "Committed and rolled back.",
            Unit.PER_SECOND,
            {"{{outcome}}": largest(rate(postgres.TRANSACTIONS), "outcome")},
        ),
        series(
            "Deadlocks",
            "Transactions that were ended for the sake of others.",
            Unit.COUNT,
            {"deadlocks": largest(increase(postgres.DEADLOCKS))},
        ),
        series("Size", "The database on its disk.", Unit.BYTES, {"size": largest(select(postgres.SIZE))}),
    ),
)
