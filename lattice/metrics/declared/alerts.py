"""The alerts service: what is wrong, and whether people hear of it."""

from lattice.metrics.spec import counter, gauge

LIVING = gauge(
    "lattice_alerts_living",
    "Alerts that are not over, as the replica that writes them knows them; state is open, acknowledged or silenced.",
    "severity",
    "state",
)
CHANGES = counter("lattice_alerts_changes_total", "Changes of alerts told on the bus.", "change")
LOOKED = gauge(
    "lattice_alerts_looked_time_seconds", "When it looked last and could judge, since 1970.", unit="seconds"
)
DELIVERIES = counter(
    "lattice_alerts_deliveries_total",
    "Attempts to tell a sink; outcome is sent, again (it is tried another time) or failed (given up).",
    "outcome",
)
