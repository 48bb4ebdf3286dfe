"""The metrics that every process has: its bus and itself.  Each is declared once, here or in the `metrics.py` of the service it belongs
to, against `REGISTRY`; `/metrics` shows them all.

Labels are bounded: names from the catalogue, outcomes from a fixed list; never an id, a subject or anything that a user chose.
"""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_RPC_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)

# ------------------------------------------------------------------------------------------------ the bus

PUBLISHED = Counter(
    "lattice_bus_published_total", "Messages sent, by channel.", ["channel"], registry=REGISTRY
)
RECEIVED = Counter(
    "lattice_bus_received_total", "Messages that arrived, by channel.", ["channel"], registry=REGISTRY
)
HANDLED = Counter(
    "lattice_bus_handled_total",
    "Messages handled; outcome is done, again, given_up or failed.",
    ["channel", "outcome"],
    registry=REGISTRY,
)
REDELIVERED = Counter(
    "lattice_bus_redelivered_total",
    "Messages that arrived for a second or later time, by channel.",
    ["channel"],
    registry=REGISTRY,
)
ASKED = Histogram(
    "lattice_bus_ask_seconds",
    "Time from a request to its reply; outcome is ok or the code of the error.",
    ["rpc", "outcome"],
    buckets=_RPC_BUCKETS_S,
    registry=REGISTRY,
)
SERVED = Histogram(
    "lattice_bus_serve_seconds",
    "Time a request took to be answered; outcome is ok or the code of the error.",
    ["rpc", "outcome"],
    buckets=_RPC_BUCKETS_S,
    registry=REGISTRY,
)
LINK_UP = Gauge("lattice_bus_link_up", "Whether the link to NATS is up.", registry=REGISTRY)
LINKS_MADE = Counter(
    "lattice_bus_connects_total", "Links to NATS that came up, the first one included.", registry=REGISTRY
)
LINK_PROBLEMS = Counter(
    "lattice_bus_problems_total",
    "What NATS or its client complained about; kind is login, permission, slow_consumer or other.",
    ["kind"],
    registry=REGISTRY,
)
DEAD_LETTERS = Counter(
    "lattice_dead_letters_total",
    "Messages that no consumer could handle, by stream and consumer.",
    ["stream", "consumer"],
    registry=REGISTRY,
)

# ------------------------------------------------------------------------------------------------ the process

READY = Gauge("lattice_process_ready", "Whether the process can do its work; see /readyz.", registry=REGISTRY)
LOOP_FAILURES = Counter(
    "lattice_process_loop_failures_total",
    "Background loops that failed and were started again.",
    ["loop"],
    registry=REGISTRY,
)


def render() -> bytes:
    """Everything in `REGISTRY`, in Prometheus's text format."""
    return generate_latest(REGISTRY)
