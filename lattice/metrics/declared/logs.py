"""The log store."""

from lattice.metrics.spec import counter, gauge, histogram

BLOCKS = counter(
    "lattice_logs_blocks_total",
    "Blocks that arrived; outcome is stored, repeated (nothing of it was new), refused (of an instance that the node never had)"
    " or invalid.",
    "outcome",
)
LINES = counter("lattice_logs_lines_total", "Lines stored.")
BYTES = counter("lattice_logs_bytes_total", "Bytes of blocks stored, compressed.", unit="bytes")
GAPS = counter(
    "lattice_logs_gaps_total",
    "Gaps stored: places where lines are missing; cause is spool_full, rotated or damaged.",
    "cause",
)
GAP_LINES = counter(
    "lattice_logs_gap_lines_total",
    "Lines that are known to be missing; of what the Engine rotated away nobody knows how many there were.",
    "cause",
)
PACKED = counter("lattice_logs_segments_packed_total", "Closed segments made smaller.")
TIERED = counter(
    "lattice_logs_segments_tiered_total",
    "Segments copied to the object store, and local copies of them dropped.",
    "what",
)
DAMAGED = counter(
    "lattice_logs_damaged_total",
    "Damaged blocks met at start or by a query; what could be read is served.",
)
KEPT_BYTES = gauge("lattice_logs_kept_bytes", "Bytes of all segments.", unit="bytes")
EXPORTED = counter("lattice_logs_exported_lines_total", "Lines that a sink has taken.", "sink")
EXPORT_FAILURES = counter("lattice_logs_export_failures_total", "Attempts to send that failed.", "sink")
EXPORT_LOST = counter(
    "lattice_logs_export_lost_lines_total",
    "Lines that a sink will never have; reason is retention (let go before), refused (by the sink, for good) or damaged.",
    "sink",
    "reason",
)
EXPORT_LAG = gauge(
    "lattice_logs_export_lag_seconds",
    "For how long the oldest lines that a sink lacks have been stored.",
    "sink",
    unit="seconds",
)
QUERY_SECONDS = histogram("lattice_logs_query_seconds", "Time of one query.")
