"""What the registry counts by itself; what it asks of database and bus is in `measuring`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from lattice.metrics.declared import registry as declared
from lattice.metrics.instruments import histogram
from services.registry.tables import FactRow, InstanceRow

DEPLOY_SECONDS = histogram(declared.DEPLOY_SECONDS)
RELAY_SECONDS = histogram(declared.RELAY_SECONDS)


def reached(row: InstanceRow, steps: Iterable[str], now: datetime) -> None:
    """An instance got so far, counted from when nothing was in its way any more."""
    took_s = (now - (row.released_at or row.created_at)).total_seconds()
    for step in steps:
        DEPLOY_SECONDS.labels(step).observe(took_s)


def relayed(rows: Iterable[FactRow], now: datetime) -> None:
    """These facts are on their stream."""
    for row in rows:
        RELAY_SECONDS.observe((now - row.created_at).total_seconds())
