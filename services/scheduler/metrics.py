"""What the scheduler counts."""

from __future__ import annotations

from collections.abc import Iterable

from lattice.contracts.messages import PlacementsCommitted, RejectedNode
from lattice.metrics.declared import scheduler as declared
from lattice.metrics.instruments import counter, gauge, histogram

LEADING = gauge(declared.LEADING)
WAITING = gauge(declared.WAITING)
DECISIONS = counter(declared.DECISIONS)
UNPLACEABLE = counter(declared.UNPLACEABLE)
ROUND_SECONDS = histogram(declared.ROUND_SECONDS)
PLACE_SECONDS = histogram(declared.PLACE_SECONDS)
# There was no node to pass over.
NO_NODE = "no_node"


def count(answer: PlacementsCommitted, unplaceable: Iterable[tuple[RejectedNode, ...]]) -> None:
    """Count the decisions of one commit; `unplaceable` has the nodes passed over for each instance that fits nowhere."""
    rejections = list(unplaceable)
    DECISIONS.labels("placed").inc(len(answer.accepted))
    DECISIONS.labels("refused").inc(len(answer.refused))
    DECISIONS.labels("unplaceable").inc(len(rejections))
    for rejected in rejections:
        for reason in {node.filter for node in rejected} or {NO_NODE}:
            UNPLACEABLE.labels(reason).inc()
