"""What the log store counts."""

from __future__ import annotations

from lattice.metrics.declared import logs as declared
from lattice.metrics.instruments import counter, gauge, histogram

BLOCKS = counter(declared.BLOCKS)
LINES = counter(declared.LINES)
BYTES = counter(declared.BYTES)
GAPS = counter(declared.GAPS)
GAP_LINES = counter(declared.GAP_LINES)
PACKED = counter(declared.PACKED)
TIERED = counter(declared.TIERED)
DAMAGED = counter(declared.DAMAGED)
KEPT_BYTES = gauge(declared.KEPT_BYTES)
EXPORTED = counter(declared.EXPORTED)
EXPORT_FAILURES = counter(declared.EXPORT_FAILURES)
EXPORT_LOST = counter(declared.EXPORT_LOST)
EXPORT_LAG = gauge(declared.EXPORT_LAG)
QUERY_SECONDS = histogram(declared.QUERY_SECONDS)
