"""What an ingress counts."""

from __future__ import annotations

from lattice.metrics.declared import ingress as declared
from lattice.metrics.instruments import counter, gauge

ROUTES = gauge(declared.ROUTES)
LINKS = gauge(declared.LINKS)
VISITORS = gauge(declared.VISITORS)
TCP_VISITORS = gauge(declared.TCP_VISITORS)
ANSWERS = counter(declared.ANSWERS)
OUT_OF_TIME = counter(declared.OUT_OF_TIME)
FENCED = counter(declared.FENCED)
