"""The link of every process to NATS, and what goes over it."""

from lattice.metrics.spec import counter, gauge, histogram

PUBLISHED = counter("lattice_bus_published_total", "Messages sent, by channel.", "channel")
RECEIVED = counter("lattice_bus_received_total", "Messages that arrived, by channel.", "channel")
HANDLED = counter(
    "lattice_bus_handled_total",
    "Messages handled; outcome is done, again, given_up or failed.",
    "channel",
    "outcome",
)
REDELIVERED = counter(
    "lattice_bus_redelivered_total",
    "Messages that arrived for a second or later time, by channel.",
    "channel",
)
ASKED = histogram(
    "lattice_bus_ask_seconds",
    "Time from a request to its reply; outcome is ok or the code of the error.",
    "rpc",
    "outcome",
)
SERVED = histogram(
    "lattice_bus_serve_seconds",
    "Time a request took to be answered; outcome is ok or the code of the error.",
    "rpc",
    "outcome",
)
LINK_UP = gauge("lattice_bus_link_up", "1 while the link to NATS is up.")
LINKS_MADE = counter("lattice_bus_connects_total", "Links to NATS that came up, the first one included.")
LINK_PROBLEMS = counter(
    "lattice_bus_problems_total",
    "What NATS or its client complained about; kind is login, permission, slow_consumer or other.",
    "kind",
)
