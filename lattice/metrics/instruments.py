"""Instruments from declarations, in the one registry of a process; `/metrics` shows it.  Nowhere else is one made."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from lattice.metrics.spec import Kind, MetricSpec

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series beside each counter, which says what process_start_time says
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


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


def render() -> bytes:
    """Everything in `REGISTRY`, in Prometheus's text format."""
    return generate_latest(REGISTRY)


def _check(spec: MetricSpec, wanted: Kind) -> None:
    if spec.kind is not wanted:
        raise TypeError(f"{spec.name} is declared as a {spec.kind}, not as a {wanted}")
