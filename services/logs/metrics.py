"""What the log store counts."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from lattice.metrics import REGISTRY

BLOCKS = Counter(
    "lattice_logs_blocks_total",
    "Blocks that arrived; outcome is stored, repeated (nothing of it was new), refused (of an instance that the node never had)"
    " or invalid.",
    ["outcome"],
    registry=REGISTRY,
)
LINES = Counter("lattice_logs_lines_total", "Lines stored.", registry=REGISTRY)
BYTES = Counter("lattice_logs_bytes_total", "Bytes of blocks stored, compressed.", registry=REGISTRY)
GAPS = Counter(
    "lattice_logs_gaps_total",
    "Gaps stored: places where lines are missing; cause is spool_full, rotated or damaged.",
    ["cause"],
    registry=REGISTRY,
)
GAP_LINES = Counter(
    "lattice_logs_gap_lines_total",
    "Lines that are known to be missing; of what the Engine rotated away nobody knows how many there were.",
    ["cause"],
    registry=REGISTRY,
)
PACKED = Counter("lattice_logs_segments_packed_total", "Closed segments made smaller.", registry=REGISTRY)
TIERED = Counter(
    "lattice_logs_segments_tiered_total",
    "Segments copied to the object store, and local copies of them dropped.",
    ["what"],
    registry=REGISTRY,
)
DAMAGED = Counter(
    "lattice_logs_damaged_total",
    "Damaged blocks met at start or by a query; what could be read is served.",
    registry=REGISTRY,
)
KEPT_BYTES = Gauge("lattice_logs_kept_bytes", "Bytes of all segments.", registry=REGISTRY)
EXPORTED = Counter(
    "lattice_logs_exported_lines_total", "Lines that a sink has taken.", ["sink"], registry=REGISTRY
)
EXPORT_FAILURES = Counter(
    "lattice_logs_export_failures_total", "Attempts to send that failed.", ["sink"], registry=REGISTRY
)
EXPORT_LOST = Counter(
    "lattice_logs_export_lost_lines_total",
    "Lines that a sink will never have; reason is retention (let go before), refused (by the sink, for good) or damaged.",
    ["sink", "reason"],
    registry=REGISTRY,
)
EXPORT_LAG = Gauge(
    "lattice_logs_export_lag_seconds",
    "For how long the oldest lines that a sink lacks have been stored.",
    ["sink"],
    registry=REGISTRY,
)
QUERY_SECONDS = Histogram("lattice_logs_query_seconds", "Time of one query.", registry=REGISTRY)
