"""An ingress: visitors, and the tunnels to nodes."""

from lattice.metrics.spec import counter, gauge

ROUTES = gauge("lattice_ingress_routes", "Routes that lead somewhere or are waiting.")
LINKS = gauge("lattice_ingress_tunnel_links", "Connections of nodes.")
VISITORS = gauge("lattice_ingress_visitors", "Open connections of visitors.")
TCP_VISITORS = gauge("lattice_ingress_tcp_visitors", "Open connections of visitors to TCP ports.")
ANSWERS = counter(
    "lattice_ingress_answers_total",
    "Answers by project, workload and class of status.",
    "project",
    "workload",
    "status",
)
OUT_OF_TIME = counter(
    "lattice_ingress_out_of_time_total",
    "Connections of visitors ended by a limit: silent for too long (idle), or there for too long (total).",
    "limit",
)
FENCED = counter(
    "lattice_ingress_links_fenced_total", "Links ended because a newer session of their node came."
)
TUNNEL_SENT = counter("lattice_ingress_tunnel_sent_bytes_total", "Bytes sent to nodes.", unit="bytes")
TUNNEL_RECEIVED = counter(
    "lattice_ingress_tunnel_received_bytes_total", "Bytes that came from nodes.", unit="bytes"
)
