"""What the scheduler counts."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from lattice.contracts.messages import PlacementsCommitted
from lattice.metrics import REGISTRY

LEADING = Gauge("lattice_scheduler_leading", "1 while this process leads.", registry=REGISTRY)
WAITING = Gauge("lattice_scheduler_waiting_instances", "Instances left without a place.", registry=REGISTRY)
DECISIONS = Counter(
    "lattice_scheduler_decisions_total",
    "Decisions; outcome is placed, refused (the registry's state had moved) or unplaceable.",
    ["outcome"],
    registry=REGISTRY,
)
ROUND_SECONDS = Histogram(
    "lattice_scheduler_round_seconds", "Time of one round, load to commit.", registry=REGISTRY
)


def count(answer: PlacementsCommitted, *, unplaceable: int) -> None:
    """Count the decisions of one commit."""
    DECISIONS.labels("placed").inc(len(answer.accepted))
    DECISIONS.labels("refused").inc(len(answer.refused))
    DECISIONS.labels("unplaceable").inc(unplaceable)
