"""Every alert of Lattice, declared once: what it is called, how grave it is, when it opens and when it is over.  Pure data.

The alerts service opens its own (`opened`), a Prometheus those that are measured (`measured`); rules, dashboards' links and the index of the
runbooks are made from both.  Names and severities follow the conventions of Prometheus: CamelCase with one first word, a summary that is the
same sentence for all alerts of a name, so that a group has one headline.
"""

from __future__ import annotations

from types import ModuleType

from lattice.alerts import measured, opened
from lattice.alerts.opened import (
    CONTROL_PLANE_BLIND,
    DEAD_LETTER,
    NODE_DISK_LOW,
    NODE_ENGINE_AWAY,
    NODE_UNREACHABLE,
    WORKLOAD_CRASH_LOOPING,
)
from lattice.alerts.spec import AlertSpec, Witness, dashboard_of
from lattice.contracts.messages import TroubleKind

__all__ = [
    "ALERTS",
    "BY_NAME",
    "CONTROL_PLANE_BLIND",
    "DEAD_LETTER",
    "MEASURED",
    "NODE_DISK_LOW",
    "NODE_ENGINE_AWAY",
    "NODE_UNREACHABLE",
    "OF_TROUBLE",
    "WATCHDOG",
    "WORKLOAD_CRASH_LOOPING",
    "AlertSpec",
    "Witness",
    "dashboard_of",
]


def _of(module: ModuleType) -> tuple[AlertSpec, ...]:
    return tuple(each for each in vars(module).values() if isinstance(each, AlertSpec))


ALERTS: tuple[AlertSpec, ...] = _of(opened)
"""Those that the alerts service opens."""
MEASURED: tuple[AlertSpec, ...] = _of(measured)
"""Those that only a Prometheus can open."""
OF_TROUBLE: dict[TroubleKind, AlertSpec] = {spec.trouble: spec for spec in ALERTS if spec.trouble is not None}
BY_NAME: dict[str, AlertSpec] = {spec.name: spec for spec in (*ALERTS, *MEASURED)}
# The dead man's switch is told again and again and is never over, so it is no alert with a life of its own.
WATCHDOG = "LatticeWatchdog"
