"""Runs that their liveness check gave up: noted once, journalled, and from then on `reconcile` ends them.  Pure.

A container whose process runs and does nothing any more is not ended by itself, so nothing else would ever start it again.  What the check says
counts only for the run that it asked; a run that was started meanwhile begins anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from agent.facts import DeadRun, Facts, InstanceRecord
from agent.naming import key_from
from lattice.contracts.messages import DesiredDocument, DesiredInstance
from lattice.contracts.nouns import DesiredState
from lattice.runtime import Container


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a liveness check says at last: why it gave the run up, and when it last succeeded."""

    reason: str
    worked_until: datetime | None = None


def run_id(container: Container) -> str:
    """Names one run: what was started when."""
    started = container.started_at.isoformat() if container.started_at else ""
    return f"{container.id}@{started}"


def is_dead(record: InstanceRecord, container: Container) -> bool:
    """Whether the liveness check gave this very run up."""
    return record.dead is not None and record.dead.run == run_id(container)


def note_dead(
    document: DesiredDocument | None,
    containers: Iterable[Container],
    facts: Facts,
    verdicts: Mapping[str, Verdict],
    now: datetime,
) -> tuple[Facts, tuple[DesiredInstance, ...]]:
    """The facts with every run that is given up now, and whose runs they are; `verdicts` by `run_id`."""
    wanted = {i.key: i for i in document.instances} if document else {}
    fresh = []
    for container in containers:
        key, verdict = key_from(container.labels), verdicts.get(run_id(container))
        instance = wanted.get(key) if key is not None else None
        if instance is None or verdict is None or not container.is_up:
            continue
        record = facts.record(instance.key)
        if instance.desired is not DesiredState.RUNNING or is_dead(record, container):
            continue
        dead = _dead_run(container, verdict, now)
        facts = facts.with_record(record.model_copy(update={"dead": dead}))
        fresh.append(instance)
    return facts, tuple(fresh)


def _dead_run(container: Container, verdict: Verdict, now: datetime) -> DeadRun:
    worked_s = 0.0
    if verdict.worked_until is not None and container.started_at is not None:
        worked_s = max(0.0, (verdict.worked_until - container.started_at).total_seconds())
    return DeadRun(run=run_id(container), reason=verdict.reason, noted_at=now, worked_s=worked_s)
