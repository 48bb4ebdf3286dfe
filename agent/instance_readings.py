"""What is said of each instance, from what the document orders, the Engine shows and the kernel counts.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime

from agent.facts import Facts
from agent.log_counting import LogCount
from agent.naming import INSTANCE
from lattice.contracts.messages import DesiredDocument, DesiredInstance
from lattice.contracts.nouns import DesiredState, Health
from lattice.metrics.declared import workload as declared
from lattice.metrics.readings import Reading, reading
from lattice.runtime import Container, ContainerStats

_NS = 10**9
_LONG_AGO = datetime.min.replace(tzinfo=UTC)

HealthResults = Mapping[str, tuple[Health, str]]


def instance_readings(
    document: DesiredDocument | None,
    containers: Iterable[Container],
    facts: Facts,
    health: HealthResults,
    usage: Mapping[str, ContainerStats],
    log_count: Callable[[str], LogCount],
) -> list[Reading]:
    """Of every instance that is to run, or still has a container."""
    newest = newest_containers(containers)
    found: list[Reading] = []
    for instance in document.instances if document else ():
        container = newest.get(instance.instance_id)
        if container is None and instance.desired is not DesiredState.RUNNING:
            continue
        found += _state(instance, container, facts, health)
        if container is not None:
            found += _usage(instance.instance_id, usage.get(container.id))
            found += _log(instance.instance_id, log_count(container.id))
    return found


def newest_containers(containers: Iterable[Container]) -> dict[str, Container]:
    """Instance -> its container; of a job the one of its newest run."""
    ordered = sorted(containers, key=lambda each: each.started_at or _LONG_AGO)
    return {each.labels[INSTANCE]: each for each in ordered if each.labels.get(INSTANCE)}


def _state(
    instance: DesiredInstance, container: Container | None, facts: Facts, health: HealthResults
) -> Iterator[Reading]:
    name, is_up = instance.instance_id, container is not None and container.is_up
    is_ready = is_up and container is not None and health.get(container.id, (None,))[0] is Health.HEALTHY
    yield reading(declared.UP, is_up, name)
    yield reading(declared.READY, is_ready, name)
    yield reading(declared.RESTARTS, facts.record(instance.key).restarts, name)
    yield reading(declared.CPU_LIMIT, instance.run.cpu_millis / 1000, name)
    yield reading(declared.MEMORY_LIMIT, instance.run.memory_bytes, name)
    if container is not None and container.started_at is not None:
        yield reading(declared.START_TIME, container.started_at.timestamp(), name)


def _usage(name: str, used: ContainerStats | None) -> Iterator[Reading]:
    if used is None:
        return
    yield reading(declared.CPU_SECONDS, used.cpu_total_ns / _NS, name)
    yield reading(declared.CPU_THROTTLED, used.throttled_ns / _NS, name)
    yield reading(declared.MEMORY, used.memory_bytes, name)
    yield reading(declared.PROCESSES, used.pids, name)
    yield reading(declared.NETWORK_RECEIVED, used.received_bytes, name)
    yield reading(declared.NETWORK_SENT, used.sent_bytes, name)
    yield reading(declared.BLOCK_READ, used.read_bytes, name)
    yield reading(declared.BLOCK_WRITTEN, used.written_bytes, name)


def _log(name: str, count: LogCount) -> Iterator[Reading]:
    yield reading(declared.LOG_LINES, count.lines, name)
    yield reading(declared.LOG_BYTES, count.size_bytes, name)
    yield reading(declared.LOG_DROPPED, count.dropped_lines, name)
