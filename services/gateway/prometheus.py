"""What Prometheus is told: where to ask for each node and service, all of it behind the gateway's one address, and what they measured.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from lattice.contracts.messages import MetricSource, SourceMetrics
from lattice.contracts.nouns import Noun
from lattice.errors import Temporary
from lattice.metrics import exposition
from lattice.metrics.declared import node as declared
from lattice.metrics.readings import Reading, reading, readings_of
from lattice.metrics.spec import Scope

PATHS = {"node": "/v1/prometheus/nodes", "service": "/v1/prometheus/services"}
AGENT = "agent"
# Four messages are missing: what they said before is not how things are.
STALE_AFTER_S = 60.0


class TargetGroup(Noun):
    """As Prometheus's HTTP service discovery reads it."""

    targets: tuple[str, ...]
    labels: dict[str, str]


def target_groups(sources: Iterable[MetricSource], *, scheme: str, address: str) -> list[TargetGroup]:
    """A target for each source, at the address under which whoever asks has reached us."""
    return [_group(source, scheme, address) for source in sources]


def _group(source: MetricSource, scheme: str, address: str) -> TargetGroup:
    return TargetGroup(
        targets=(address,),
        labels={
            "__scheme__": scheme,
            "__metrics_path__": f"{PATHS[source.kind]}/{source.id}",
            # All targets have one address, by which nobody could tell them apart.
            "instance": source.name,
            source.kind: source.name,
        },
    )


def text(found: SourceMetrics, now: datetime) -> str:
    """What a source measured last.  Raises Temporary where that is too old: then the target is down."""
    source, age_s = found.source, (now - found.source.taken_at).total_seconds()
    if age_s > STALE_AFTER_S:
        raise Temporary(f"The {source.kind} {source.name} has said nothing for {age_s:.0f} s.")
    return exposition.text(_readings(found, age_s), lambda each: _added(each, found))


def _readings(found: SourceMetrics, age_s: float) -> Iterator[Reading]:
    for table in found.tables:
        yield from readings_of(table)
    if found.source.kind == "node":
        yield reading(declared.AGE, max(0.0, age_s))


def _added(each: Reading, found: SourceMetrics) -> Mapping[str, str]:
    """The labels that the platform knows."""
    name = found.source.name
    if each.spec.scope is Scope.WORKLOAD:
        owner = found.owners[each.labels[0]]
        return {"node": name, "project": owner.project, "workload": owner.workload}
    if each.spec.scope is Scope.NODE:
        return {"node": name}
    return {"service": AGENT, "node": name} if found.source.kind == "node" else {"service": name}
