"""What the alerts service counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from itertools import product

from lattice.contracts.messages import AlertState, Severity
from lattice.metrics.declared import alerts as declared
from lattice.metrics.instruments import counter, gauge
from services.alerts.lifecycle import shown_state
from services.alerts.tables import AlertRow

LIVING = gauge(declared.LIVING)
CHANGES = counter(declared.CHANGES)
LOOKED = gauge(declared.LOOKED)
DELIVERIES = counter(declared.DELIVERIES)
_LIVING_STATES = (AlertState.OPEN, AlertState.ACKNOWLEDGED, AlertState.SILENCED)


def looked(rows: Iterable[AlertRow], now: datetime) -> None:
    """This replica has looked and could judge; these alerts were known then."""
    counts = Counter((row.severity, shown_state(AlertState(row.state), row.silenced_until)) for row in rows)
    for severity, state in product(Severity, _LIVING_STATES):
        LIVING.labels(severity.value, state.value).set(counts[severity.value, state])
    LOOKED.set(now.timestamp())


def left_to_another() -> None:
    """Another replica judges, so it alone says what there is."""
    LIVING.clear()
    LOOKED.set(0)
