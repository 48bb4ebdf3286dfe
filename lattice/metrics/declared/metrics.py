"""The service that gathers all of these."""

from lattice.metrics.spec import counter, gauge

MESSAGES = counter(
    "lattice_metrics_messages_total",
    "Messages with samples; outcome is taken, refused (somebody spoke for others) or late (a newer one is here).",
    "outcome",
)
REFUSED = counter(
    "lattice_metrics_refused_samples_total",
    "Rows of samples that were left out; reason is unknown (no such metric or label), shape, owner (an instance that the node never had)"
    " or limit.",
    "reason",
)
SOURCES = gauge("lattice_metrics_sources", "Who is heard; kind is node or service.", "kind")
SERIES = gauge("lattice_metrics_history_series", "Series of which the last day is kept.")
SERIES_REFUSED = counter(
    "lattice_metrics_history_refused_series_total", "Series for which there was no room."
)
HISTORY_BYTES = gauge("lattice_metrics_history_bytes", "The history on its disk.", unit="bytes")
