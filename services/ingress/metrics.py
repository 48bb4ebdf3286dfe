"""What an ingress counts."""

from __future__ import annotations

from lattice.metrics.declared import ingress as declared
from lattice.metrics.instruments import counter, gauge
from lattice.metrics.readings import Reading, reading
from lattice.tunnel_link import Traffic

ROUTES = gauge(declared.ROUTES)
LINKS = gauge(declared.LINKS)
VISITORS = gauge(declared.VISITORS)
TCP_VISITORS = gauge(declared.TCP_VISITORS)
ANSWERS = counter(declared.ANSWERS)
OUT_OF_TIME = counter(declared.OUT_OF_TIME)
FENCED = counter(declared.FENCED)


def tunnelled(traffic: Traffic) -> list[Reading]:
    """What went through the connections of nodes, which count it themselves."""
    return [
        reading(declared.TUNNEL_SENT, traffic.sent_bytes),
        reading(declared.TUNNEL_RECEIVED, traffic.received_bytes),
    ]
