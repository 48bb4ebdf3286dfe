"""How containers ended, in words, and remembered while they run again or when they are gone: `lattice show` tells it days later.  Pure."""

from __future__ import annotations

import signal
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

from agent.dead_runs import is_dead
from agent.facts import Facts, InstanceRecord
from agent.naming import key_from
from lattice.contracts.messages import DesiredDocument, DesiredInstance
from lattice.contracts.nouns import DesiredState, LastExit
from lattice.contracts.quantities import format_size
from lattice.runtime import Container

# Each is written with the facts and told with each report: enough to see a stack's end, and little where hundreds crash.
LAST_WORDS = 10
# "Exec format error" in the kernel's words: nearly always an image of another architecture.
WRONG_PROGRAM = "no program for this node's kind of processor: use an image that is built for it"
VANISHED = "its container vanished: it was removed by somebody else"


def signal_of(exit_code: int | None) -> str:
    """The signal that ended a process, by the convention 128 + number; empty where it ended by itself."""
    try:
        return signal.Signals((exit_code or 0) - 128).name
    except ValueError:
        return ""


def exit_words(exit_code: int | None) -> str:
    """`exited with 1`, `exited with 137 (SIGKILL)`."""
    by = signal_of(exit_code)
    return f"exited with {exit_code} ({by})" if by else f"exited with {exit_code}"


def exit_reason(container: Container, instance: DesiredInstance, record: InstanceRecord | None = None) -> str:
    """How a container ended, in plain words; `record` tells whether its liveness check ended it."""
    if container.oom_killed:
        limit = format_size(instance.run.memory_bytes)
        return f"out of memory: it used more than its limit of {limit}; raise resources.memory"
    if record is not None and record.dead is not None and is_dead(record, container):
        return record.dead.reason
    said = exit_words(container.exit_code)
    return f"{said}: {container.error}" if container.error else said


def exit_reason_with_log(
    container: Container, instance: DesiredInstance, record: InstanceRecord, last_lines: Sequence[str]
) -> str:
    """The same, with what the container's last line tells of a program that could not even begin."""
    reason = exit_reason(container, instance, record)
    if container.exit_code and last_lines and "exec format error" in last_lines[-1].lower():
        return f"{reason}: what it runs is {WRONG_PROGRAM}"
    return reason


def last_exit_of(
    container: Container, instance: DesiredInstance, record: InstanceRecord, now: datetime
) -> LastExit:
    """What is remembered of an end; what it printed last comes with `with_last_words`."""
    return LastExit(
        at=container.finished_at or now,
        reason=exit_reason(container, instance, record),
        exit_code=container.exit_code,
        signal=signal_of(container.exit_code),
        oom_killed=container.oom_killed,
        instance_id=instance.instance_id,
        container_id=container.id,
    )


def note_vanished(
    document: DesiredDocument | None, containers: Iterable[Container], facts: Facts, now: datetime
) -> tuple[Facts, tuple[DesiredInstance, ...]]:
    """The facts with every container that ran and is not there any more, though nobody ordered it gone; and whose they were."""
    there = {key_from(container.labels) for container in containers}
    fresh = []
    for instance in document.instances if document else ():
        record = facts.record(instance.key)
        if instance.desired is not DesiredState.RUNNING or not record.running_id or instance.key in there:
            continue
        if instance.run.job is not None:  # its runs come and go; `job_runs` notes one that vanished
            continue
        facts = facts.with_record(record.model_copy(update=_vanished(instance, record, now)))
        fresh.append(instance)
    return facts, tuple(fresh)


def _vanished(instance: DesiredInstance, record: InstanceRecord, now: datetime) -> dict[str, object]:
    last = LastExit(at=now, reason=VANISHED, instance_id=instance.instance_id, container_id=record.running_id)
    return {"last_exit": last, "running_id": ""}


def with_last_words(facts: Facts, tails: Mapping[str, tuple[str, ...]], *, up: Collection[str]) -> Facts:
    """The facts with what ended containers printed last; one that is `up` again prints for its next end."""
    for record in facts.records.values():
        last = record.last_exit
        if last is None or last.container_id in up or last.container_id not in tails:
            continue
        log = tails[last.container_id][-LAST_WORDS:]
        if log != last.log:
            told = last.model_copy(update={"log": log})
            facts = facts.with_record(record.model_copy(update={"last_exit": told}))
    return facts
