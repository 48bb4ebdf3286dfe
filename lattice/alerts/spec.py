"""What an alert is: declared once as data, from which alerts are opened and rules, runbooks and links are made.  Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from lattice.contracts.messages import AlertSource, Severity, TroubleKind

_DASHBOARDS = {
    AlertSource.NODE: "lattice-node",
    AlertSource.WORKLOAD: "lattice-workload",
    AlertSource.SERVICE: "lattice-control-plane",
    AlertSource.PLATFORM: "lattice-fleet",
    AlertSource.ALERTMANAGER: "lattice-alerts",
}


def dashboard_of(source: AlertSource) -> str:
    """The uid of the dashboard on which one sees more of what such an alert is about."""
    return _DASHBOARDS[source]


class Witness(StrEnum):
    """Whose word an alert rests on; while the witness is silent, none of its alerts opens or ends."""

    REGISTRY = "registry"
    METRICS = "metrics"
    ALERTS = "alerts"  # the alerts service itself
    ALERTMANAGER = "alertmanager"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSpec:
    """One alert.

    It opens once what is wrong has been so for `opens_after_s`, and is over once it has been well again for `resolves_after_s`.
    """

    name: str
    severity: Severity
    source: AlertSource
    summary: str
    meaning: str
    witness: Witness = Witness.REGISTRY
    trouble: TroubleKind | None = None
    opens_after_s: float = 0.0
    resolves_after_s: float = 10.0
    dashboard: str = ""

    @property
    def runbook(self) -> str:
        """The name of its page below docs/runbooks: `LatticeNodeUnreachable` is `node-unreachable`."""
        words = re.findall(r"[A-Z][a-z]*", self.name.removeprefix("Lattice"))
        return "-".join(words).lower()

    @property
    def seen_on(self) -> str:
        """The uid of the dashboard that shows more of it."""
        return self.dashboard or dashboard_of(self.source)
