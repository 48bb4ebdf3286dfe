"""What the gatherer of metrics counts of itself."""

from __future__ import annotations

from lattice.metrics.declared import metrics as declared
from lattice.metrics.instruments import counter, gauge

MESSAGES = counter(declared.MESSAGES)
REFUSED = counter(declared.REFUSED)
SOURCES = gauge(declared.SOURCES)
SERIES = gauge(declared.SERIES)
SERIES_REFUSED = counter(declared.SERIES_REFUSED)
HISTORY_BYTES = gauge(declared.HISTORY_BYTES)
