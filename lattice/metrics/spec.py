"""What a metric is: declared once as data, from which instruments, checks on arrival, history and documents are made."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

DEFAULT_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)


class Kind(StrEnum):
    """How its values go on: a counter only rises, and begins anew with its process; a histogram is counters by size, and their sum."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Scope(StrEnum):
    """Whose it is.  Whoever measures says the metric's own labels only; the platform adds those of the scope, from what it knows itself."""

    PROCESS = "process"
    NODE = "node"
    WORKLOAD = "workload"


class History(StrEnum):
    """What of it is kept for a day, once a minute."""

    RATE = "rate"  # of a counter, how much it rose per second
    NEWEST = "newest"


SCOPE_LABELS: dict[Scope, tuple[str, ...]] = {
    Scope.PROCESS: ("service", "node"),
    Scope.NODE: ("node",),
    Scope.WORKLOAD: ("node", "project", "workload", "instance"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSpec:
    """One metric.  `unit` is a base unit (seconds, bytes, cores), or empty where things are counted; `labels` are the metric's own, and each has
    few values: names from the catalogue, words from a fixed list, never an id or what a user chose."""

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    scope: Scope = Scope.PROCESS
    buckets: tuple[float, ...] = ()
    history: History | None = None

    @property
    def all_labels(self) -> tuple[str, ...]:
        """The labels as Prometheus sees them."""
        return (*SCOPE_LABELS[self.scope], *self.labels)

    @property
    def sent_labels(self) -> tuple[str, ...]:
        """The labels with which whoever measures says it."""
        return ("instance", *self.labels) if self.scope is Scope.WORKLOAD else self.labels

    @property
    def width(self) -> int:
        """How many numbers a value has: one; of a histogram the counts of its buckets, all that there are, and their sum."""
        return len(self.buckets) + 2 if self.kind is Kind.HISTOGRAM else 1


def counter(
    name: str,
    meaning: str,
    *labels: str,
    unit: str = "",
    scope: Scope = Scope.PROCESS,
    history: History | None = None,
) -> MetricSpec:
    """A number of things that happened."""
    return MetricSpec(
        name=name, kind=Kind.COUNTER, meaning=meaning, labels=labels, unit=unit, scope=scope, history=history
    )


def gauge(
    name: str,
    meaning: str,
    *labels: str,
    unit: str = "",
    scope: Scope = Scope.PROCESS,
    history: History | None = None,
) -> MetricSpec:
    """How much there is now."""
    return MetricSpec(
        name=name, kind=Kind.GAUGE, meaning=meaning, labels=labels, unit=unit, scope=scope, history=history
    )


def histogram(
    name: str, meaning: str, *labels: str, buckets: tuple[float, ...] = DEFAULT_BUCKETS_S
) -> MetricSpec:
    """How long something took, in seconds."""
    return MetricSpec(
        name=name, kind=Kind.HISTOGRAM, meaning=meaning, labels=labels, unit="seconds", buckets=buckets
    )
