"""What an ingress counts."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from lattice.metrics import REGISTRY

ROUTES = Gauge("lattice_ingress_routes", "Routes that lead somewhere or are waiting.", registry=REGISTRY)
LINKS = Gauge("lattice_ingress_tunnel_links", "Connections of nodes.", registry=REGISTRY)
VISITORS = Gauge("lattice_ingress_visitors", "Open connections of visitors.", registry=REGISTRY)
TCP_VISITORS = Gauge(
    "lattice_ingress_tcp_visitors", "Open connections of visitors to TCP ports.", registry=REGISTRY
)
ANSWERS = Counter(
    "lattice_ingress_answers_total", "Answers by project, workload and class of status.", ["project", "workload", "status"],
    registry=REGISTRY,
)  # fmt: skip
OUT_OF_TIME = Counter(
    "lattice_ingress_out_of_time_total",
    "Connections of visitors ended by a limit: silent for too long (idle), or there for too long (total).",
    ["limit"],
    registry=REGISTRY,
)
FENCED = Counter(
    "lattice_ingress_links_fenced_total",
    "Links ended because a newer session of their node came.",
    registry=REGISTRY,
)
