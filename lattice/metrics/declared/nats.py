"""The NATS servers together, as the registry asks them over their system account."""

from lattice.metrics.spec import counter, gauge

UP = gauge("lattice_nats_servers", "Servers that answered.")
CONNECTIONS = gauge("lattice_nats_connections", "Open connections.")
SLOW_CONSUMERS = counter(
    "lattice_nats_slow_consumers_total", "Connections that took their messages too slowly and lost some."
)
IN_MESSAGES = counter("lattice_nats_received_messages_total", "Messages that came in.")
OUT_MESSAGES = counter("lattice_nats_sent_messages_total", "Messages that went out.")
IN_BYTES = counter("lattice_nats_received_bytes_total", "Bytes that came in.", unit="bytes")
OUT_BYTES = counter("lattice_nats_sent_bytes_total", "Bytes that went out.", unit="bytes")
MEMORY = gauge("lattice_nats_memory_bytes", "Memory that the servers hold.", unit="bytes")
STREAM_MESSAGES = gauge("lattice_nats_stream_messages", "Messages that a stream keeps.", "stream")
STREAM_BYTES = gauge("lattice_nats_stream_bytes", "Bytes that a stream keeps.", "stream", unit="bytes")
CONSUMER_PENDING = gauge(
    "lattice_nats_consumer_pending_messages",
    "Messages that wait for a consumer: the depth of its queue.",
    "stream",
    "consumer",
)
CONSUMER_UNACKNOWLEDGED = gauge(
    "lattice_nats_consumer_unacknowledged_messages",
    "Messages that a consumer has and has not settled.",
    "stream",
    "consumer",
)
