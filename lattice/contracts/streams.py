"""JetStream streams and durable consumers, as data.  `bus.ensure_topology` makes them so; nothing is ever deleted and re-created.

Everything here can be erased and comes back from Postgres, but for logs, events of nodes and dead letters, which are kept for a while only.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_MIB = 2**20
_DAY_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """A stream: what it keeps, for how long, and how hard it tries not to lose it."""

    name: str
    subjects: tuple[str, ...]
    meaning: str
    max_bytes: int
    max_age_s: float = 0.0
    max_msgs_per_subject: int = -1
    max_msg_bytes: int = -1
    discard_new: bool = False
    work_queue: bool = False
    allow_direct: bool = False
    deny_delete: bool = False
    message_ttl: bool = False
    # The window in which a repeated Nats-Msg-Id is dropped.
    duplicate_window_s: float = 120.0
    republish: tuple[str, str] | None = None
    transform: tuple[str, str] | None = None
    # True leaves fsync to the interval instead of each message: 41.7 k/s against 4.6 k/s for 512 B, for logs only.
    asynchronous: bool = False
    compressed: bool = False
    # nats-server 2.15 limits a stream to 1,000 consumers unless told otherwise.
    max_consumers: int = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumer:
    """A durable pull consumer.  `backoff_s[0]` replaces `ack_wait` in the server, so only the list is given."""

    stream: str
    durable: str
    owner: str
    filter_subjects: tuple[str, ...]
    backoff_s: tuple[float, ...] = (30.0, 60.0, 120.0, 300.0, 600.0)
    max_deliver: int = 8
    max_ack_pending: int = 256
    meaning: str = field(default="")


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseBucket:
    """A bucket of leases: one subject per role, each message lives for the lease's time."""

    stream: str
    prefix: str


DESIRED = Stream(
    name="DESIRED",
    subjects=("lattice.desired.node.*",),
    meaning="the newest desired document of each node",
    max_bytes=4096 * _MIB,
    max_msgs_per_subject=1,
    max_msg_bytes=1_000_000,
    discard_new=False,
    allow_direct=True,
    deny_delete=True,
    duplicate_window_s=600,
    republish=("lattice.desired.node.*", "lattice.node.{{wildcard(1)}}.deploy"),
)
OBSERVED = Stream(
    name="OBSERVED",
    subjects=("lattice.node.*.status",),
    meaning="the newest observed document of each node, in 16 partitions",
    max_bytes=2048 * _MIB,
    max_msgs_per_subject=1,
    max_msg_bytes=1_000_000,
    allow_direct=True,
    transform=("lattice.node.*.status", "lattice.p.{{partition(16,1)}}.node.{{wildcard(1)}}.status"),
)
NODE_EVENTS = Stream(
    name="NODE_EVENTS",
    subjects=("lattice.node.*.event.*",),
    meaning="what happened on nodes",
    max_bytes=2048 * _MIB,
    max_age_s=7 * _DAY_S,
    duplicate_window_s=600,
)
EVENTS = Stream(
    name="EVENTS",
    subjects=("lattice.evt.*.*.*",),
    meaning="facts, in the order of their seq",
    max_bytes=2048 * _MIB,
    max_age_s=30 * _DAY_S,
    duplicate_window_s=600,
)
SCHED = Stream(
    name="SCHED",
    subjects=("lattice.sched.*",),
    meaning="workloads with instances that need a place",
    max_bytes=256 * _MIB,
    max_age_s=_DAY_S,
    work_queue=True,
)
ALERTS = Stream(
    name="ALERTS",
    subjects=("lattice.alert.*.*.*.*",),
    meaning="alerts, opened and resolved",
    max_bytes=512 * _MIB,
    max_age_s=30 * _DAY_S,
)
LOGS = Stream(
    name="LOGS",
    subjects=("lattice.logs.*.*", "lattice.own-logs.*"),
    meaning="blocks of log lines on their way to the log store",
    max_bytes=4096 * _MIB,
    max_age_s=6 * 3600,
    asynchronous=True,
)
DLQ = Stream(
    name="DLQ",
    subjects=(
        "lattice.dlq.*.*",
        "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.*.*",
        "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.*.*",
    ),
    meaning="messages that no consumer could handle, and the server's word that they exist",
    max_bytes=512 * _MIB,
    max_age_s=30 * _DAY_S,
)
LEASES = Stream(
    name="KV_LEASES",
    subjects=("$KV.LEASES.*",),
    meaning="who leads: one lease per role, gone when it is not renewed",
    max_bytes=16 * _MIB,
    max_msgs_per_subject=1,
    discard_new=False,
    allow_direct=True,
    message_ttl=True,
)

ROUTES = Stream(
    name="ROUTES",
    subjects=("lattice.route.*", "lattice.link.*"),
    meaning="the newest document of each route, and of each workload that others have links to",
    max_bytes=512 * _MIB,
    max_msgs_per_subject=1,
    max_msg_bytes=100_000,
    allow_direct=True,
    deny_delete=True,
    duplicate_window_s=600,
)

STREAMS: tuple[Stream, ...] = (
    DESIRED,
    OBSERVED,
    NODE_EVENTS,
    EVENTS,
    SCHED,
    ALERTS,
    LOGS,
    DLQ,
    LEASES,
    ROUTES,
)
LEASE_BUCKET = LeaseBucket(stream=LEASES.name, prefix="$KV.LEASES.")

OBSERVED_BY_REGISTRY = Consumer(
    stream="OBSERVED",
    durable="registry-observed",
    owner="registry",
    filter_subjects=("lattice.p.*.node.*.status",),
    backoff_s=(5.0, 15.0, 30.0, 60.0),
    meaning="folds observed documents into Postgres",
)
NODE_EVENTS_BY_REGISTRY = Consumer(
    stream="NODE_EVENTS",
    durable="registry-node-events",
    owner="registry",
    filter_subjects=("lattice.node.*.event.*",),
    meaning="turns what nodes report into facts",
)
SCHED_BY_SCHEDULER = Consumer(
    stream="SCHED",
    durable="scheduler",
    owner="scheduler",
    filter_subjects=("lattice.sched.*",),
    backoff_s=(10.0, 30.0, 60.0),
    max_ack_pending=64,
    meaning="places instances",
)
LOGS_BY_LOGS = Consumer(
    stream="LOGS",
    durable="logs-ingest",
    owner="logs",
    filter_subjects=("lattice.logs.*.*",),
    max_ack_pending=1024,
    meaning="stores log blocks",
)
OWN_LOGS_BY_LOGS = Consumer(
    stream="LOGS",
    durable="own-logs-ingest",
    owner="logs",
    filter_subjects=("lattice.own-logs.*",),
    max_ack_pending=64,
    meaning="stores what the platform's services log themselves",
)
ADVISORIES_BY_REGISTRY = Consumer(
    stream="DLQ",
    durable="dead-letter-mover",
    owner="registry",
    filter_subjects=(
        "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.*.*",
        "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.*.*",
    ),
    meaning="copies each message that was given up to `lattice.dlq.<stream>.<consumer>`",
)

CONSUMERS: tuple[Consumer, ...] = (
    OBSERVED_BY_REGISTRY,
    NODE_EVENTS_BY_REGISTRY,
    SCHED_BY_SCHEDULER,
    LOGS_BY_LOGS,
    OWN_LOGS_BY_LOGS,
    ADVISORIES_BY_REGISTRY,
)
