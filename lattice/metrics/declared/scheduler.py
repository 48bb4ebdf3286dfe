"""The scheduler: how fast it places, and why it cannot."""

from lattice.metrics.spec import counter, gauge, histogram

LEADING = gauge("lattice_scheduler_leading", "1 while this process leads.")
WAITING = gauge("lattice_scheduler_waiting_instances", "Instances left without a place.")
DECISIONS = counter(
    "lattice_scheduler_decisions_total",
    "Decisions; outcome is placed, refused (the registry's state had moved) or unplaceable.",
    "outcome",
)
UNPLACEABLE = counter(
    "lattice_scheduler_unplaceable_total",
    "Decisions that an instance fits nowhere, each under every filter that passed over a node; reason is the filter's name, or no_node.",
    "reason",
)
ROUND_SECONDS = histogram("lattice_scheduler_round_seconds", "Time of one round, load to commit.")
PLACE_SECONDS = histogram(
    "lattice_scheduler_place_seconds",
    "Time of deciding on one batch, without what is asked of the registry.",
    buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0),
)
