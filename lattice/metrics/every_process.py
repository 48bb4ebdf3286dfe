"""What every process counts: its bus and itself."""

from __future__ import annotations

from lattice import __version__
from lattice.metrics.declared import bus, process
from lattice.metrics.instruments import counter, gauge, histogram

PUBLISHED = counter(bus.PUBLISHED)
RECEIVED = counter(bus.RECEIVED)
HANDLED = counter(bus.HANDLED)
REDELIVERED = counter(bus.REDELIVERED)
ASKED = histogram(bus.ASKED)
SERVED = histogram(bus.SERVED)
LINK_UP = gauge(bus.LINK_UP)
LINKS_MADE = counter(bus.LINKS_MADE)
LINK_PROBLEMS = counter(bus.LINK_PROBLEMS)

READY = gauge(process.READY)
LOOP_FAILURES = counter(process.LOOP_FAILURES)
LOG_RECORDS = counter(process.LOG_RECORDS)
INFO = gauge(process.INFO)
INFO.labels(__version__).set(1)
