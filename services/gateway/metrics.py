"""What the gateway counts."""

from __future__ import annotations

from lattice.metrics.declared import gateway as declared
from lattice.metrics.instruments import histogram

REQUEST_SECONDS = histogram(declared.REQUEST_SECONDS)
