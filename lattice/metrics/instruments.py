"""Instruments from declarations, in the one registry of a process; `/metrics` shows it.  Nowhere else is one made.

What counts elsewhere (the kernel, a database, the bytes of a tunnel) has no instrument: `measure` tells where it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics_core import Metric

from lattice.metrics import exposition
from lattice.metrics.declared import SPECS
from lattice.metrics.readings import Reading
from lattice.metrics.spec import Kind, MetricSpec

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series beside each counter, which says what process_start_time says
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

_MEASURED: dict[str, Callable[[], Iterable[Reading]]] = {}


def counter(spec: MetricSpec) -> Counter:
    """What counts this metric in this process."""
    _check(spec, Kind.COUNTER)
    return Counter(spec.name, spec.meaning, spec.labels, registry=REGISTRY)


def gauge(spec: MetricSpec) -> Gauge:
    """What holds this metric in this process."""
    _check(spec, Kind.GAUGE)
    return Gauge(spec.name, spec.meaning, spec.labels, registry=REGISTRY)


def histogram(spec: MetricSpec) -> Histogram:
    """What takes times of this metric in this process."""
    _check(spec, Kind.HISTOGRAM)
    return Histogram(spec.name, spec.meaning, spec.labels, buckets=spec.buckets, registry=REGISTRY)


def measure(what: str, readings: Callable[[], Iterable[Reading]]) -> None:
    """From now on, ask there too.  `what` is a name: a second one of the same replaces it."""
    _MEASURED[what] = readings


def render() -> bytes:
    """Everything that this process counts and measures, in Prometheus's text format."""
    return generate_latest(REGISTRY) + exposition.text(_measured()).encode()


def readings() -> list[Reading]:
    """The same as values."""
    return [*counted(), *_measured()]


def counted() -> Iterator[Reading]:
    """What the instruments of this process say, as far as it is declared."""
    for family in REGISTRY.collect():
        spec = SPECS.get(f"{family.name}_total" if family.type == "counter" else family.name)
        if spec is not None:
            yield from _histograms(spec, family) if spec.kind is Kind.HISTOGRAM else _numbers(spec, family)


def _measured() -> list[Reading]:
    return [each for ask in _MEASURED.values() for each in ask()]


def _numbers(spec: MetricSpec, family: Metric) -> Iterator[Reading]:
    for sample in family.samples:
        yield Reading(spec, tuple(sample.labels[label] for label in spec.labels), (sample.value,))


def _histograms(spec: MetricSpec, family: Metric) -> Iterator[Reading]:
    """Of each set of labels there are the buckets in their order, then the count, which the last of them has too, and the sum."""
    found: dict[tuple[str, ...], list[float]] = {}
    for sample in family.samples:
        if not sample.name.endswith("_count"):
            labels = tuple(sample.labels[label] for label in spec.labels)
            found.setdefault(labels, []).append(sample.value)
    yield from (Reading(spec, labels, tuple(values)) for labels, values in found.items())


def _check(spec: MetricSpec, wanted: Kind) -> None:
    if spec.kind is not wanted:
        raise TypeError(f"{spec.name} is declared as a {spec.kind}, not as a {wanted}")
