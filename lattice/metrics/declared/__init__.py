"""All metrics of all processes, by area.  Nothing is measured that is not declared here, and nothing is declared that nobody measures.

from lattice.metrics.declared import logs as declared
LINES = counter(declared.LINES)
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType

from lattice.metrics.declared import (
    alerts,
    bus,
    gateway,
    ingress,
    logs,
    metrics,
    nats,
    node,
    postgres,
    process,
    registry,
    scheduler,
    workload,
)
from lattice.metrics.spec import MetricSpec

_MODULES: tuple[ModuleType, ...] = (
    workload,
    node,
    process,
    bus,
    gateway,
    registry,
    scheduler,
    logs,
    alerts,
    ingress,
    metrics,
    nats,
    postgres,
)


def _of(module: ModuleType) -> tuple[MetricSpec, ...]:
    return tuple(value for value in vars(module).values() if isinstance(value, MetricSpec))


AREAS: Mapping[str, tuple[MetricSpec, ...]] = {
    module.__name__.rpartition(".")[2]: _of(module) for module in _MODULES
}
SPECS: Mapping[str, MetricSpec] = {spec.name: spec for specs in AREAS.values() for spec in specs}
"""Every metric by its name."""
