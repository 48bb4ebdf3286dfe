"""What the scheduler counts."""

from __future__ import annotations

from lattice.contracts.messages import PlacementsCommitted
from lattice.metrics.declared import scheduler as declared
from lattice.metrics.instruments import counter, gauge, histogram

LEADING = gauge(declared.LEADING)
WAITING = gauge(declared.WAITING)
DECISIONS = counter(declared.DECISIONS)
ROUND_SECONDS = histogram(declared.ROUND_SECONDS)


def count(answer: PlacementsCommitted, *, unplaceable: int) -> None:
    """Count the decisions of one commit."""
    DECISIONS.labels("placed").inc(len(answer.accepted))
    DECISIONS.labels("refused").inc(len(answer.refused))
    DECISIONS.labels("unplaceable").inc(unplaceable)
