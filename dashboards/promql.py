"""Queries from declarations: a metric is named by its declaration, so what is not declared cannot be asked for.  Pure.

total(rate(node.NETWORK_SENT), "node")      sum by (node) (rate(lattice_node_network_sent_bytes_total[$__rate_interval]))

On dashboards sums are `by` the labels to be shown.  Rules drop labels by name (`keeping`), so that what others add, such as the name of a
platform where one Prometheus looks at several, stays.
"""

from __future__ import annotations

from lattice.metrics.spec import Kind, MetricSpec

# At least four scrapes, and never less than what lies between two points; Grafana puts it in.
RATE_INTERVAL = "$__rate_interval"
ZERO = " or vector(0)"
# Prometheus adds these to whatever a target says.
_OF_TARGETS = ("instance", "job")


def select(spec: MetricSpec, where: str = "", *, part: str = "") -> str:
    """The series of a metric; `part` is one of a histogram's: `bucket`, `count` or `sum`."""
    if bool(part) != (spec.kind is Kind.HISTOGRAM):
        raise ValueError(f"{spec.name} is a {spec.kind}: a part is named of histograms, and only of those")
    name = f"{spec.name}_{part}" if part else spec.name
    return f"{name}{{{where}}}" if where else name


def rate(spec: MetricSpec, where: str = "", *, part: str = "", over: str = RATE_INTERVAL) -> str:
    """How much a counter rises per second."""
    return f"rate({_rising(spec, where, part)}[{over}])"


def increase(spec: MetricSpec, where: str = "", *, part: str = "", over: str = RATE_INTERVAL) -> str:
    """How much a counter rose."""
    return f"increase({_rising(spec, where, part)}[{over}])"


def rose(spec: MetricSpec, where: str = "", *, over: str) -> str:
    """The same for what is counted only once it has happened: a series that was not there before began at zero."""
    new = select(spec, where)
    return f"({increase(spec, where, over=over)} > 0 or ({new} unless {new} offset {over}))"


def _rising(spec: MetricSpec, where: str, part: str) -> str:
    if spec.kind is Kind.GAUGE:
        raise ValueError(f"{spec.name} is a gauge: it has no rate")
    return select(spec, where, part=part)


def total(expression: str, *by: str) -> str:
    """Summed, one for each value of these labels."""
    return _aggregated("sum", expression, by)


def largest(expression: str, *by: str) -> str:
    """The largest of each."""
    return _aggregated("max", expression, by)


def _aggregated(how: str, expression: str, by: tuple[str, ...]) -> str:
    return f"{how} by ({', '.join(by)}) ({expression})" if by else f"{how}({expression})"


def keeping(spec: MetricSpec, expression: str, *kept: str, how: str = "sum") -> str:
    """Aggregated for a rule: of the metric's labels only these are left."""
    limits = ("le",) if spec.kind is Kind.HISTOGRAM else ()
    labels = dict.fromkeys((*spec.all_labels, *limits, *_OF_TARGETS))
    dropped = [label for label in labels if label not in kept]
    return f"{how} without ({', '.join(dropped)}) ({expression})"


def quantile(q: float, spec: MetricSpec, where: str = "", *by: str, over: str = RATE_INTERVAL) -> str:
    """How long it took at most in a share `q` of the times."""
    buckets = total(rate(spec, where, part="bucket", over=over), "le", *by)
    return f"histogram_quantile({q}, {buckets})"


def or_zero(expression: str) -> str:
    """Zero where there is nothing to count."""
    return f"{expression}{ZERO}"
