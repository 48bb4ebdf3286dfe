"""What it means that a container has ended: whether it starts again, when, and how that is told.  Pure.

An exit is counted once, the first time it is seen; its pause is drawn then and journalled, so that the decision stays the same however often
it is looked at and survives a restart of the agent.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from agent.backoff import crashes_in_a_row, delay_s, is_stable, restart_delay_s
from agent.dead_runs import is_dead
from agent.facts import Facts, Failure, InstanceRecord
from agent.last_exits import last_exit_of
from agent.naming import key_from
from agent.outages import Outage
from lattice.contracts.messages import DesiredDocument, DesiredInstance
from lattice.contracts.nouns import ContainerKey, DesiredState
from lattice.contracts.spec import RestartMode
from lattice.runtime import Container, RunState

CRASH_LOOP_EXITS = 5
CRASH_LOOP_WINDOW = timedelta(minutes=10)


def has_ended(container: Container) -> bool:
    """Whether it ran and does not any more."""
    return container.state in (RunState.EXITED, RunState.DEAD)


def will_restart(mode: RestartMode, container: Container) -> bool:
    """Whether a container that ended by itself is to run again."""
    if mode is RestartMode.ON_FAILURE:
        return container.exit_code != 0 or container.oom_killed
    return mode is RestartMode.ALWAYS


def starts_again(instance: DesiredInstance, record: InstanceRecord, container: Container) -> bool:
    """Whether an ended container is to run again; one that its liveness check gave up is, however it ended."""
    return is_dead(record, container) or will_restart(instance.run.restart, container)


def note_exits(
    document: DesiredDocument | None,
    containers: Iterable[Container],
    facts: Facts,
    now: datetime,
    chance: float,
    *,
    outage: Outage | None = None,
) -> tuple[Facts, tuple[Container, ...]]:
    """The facts with every exit that was not seen before, and the containers whose exit it was; one in the Engine's last outage is no crash."""
    # How a job's runs end is noted by `job_runs`.
    wanted = {i.key: i for i in document.instances if i.run.job is None} if document else {}
    fresh = []
    for container in containers:
        key = key_from(container.labels)
        instance = wanted.get(key) if key is not None else None
        if instance is None or not _is_news(instance, facts.record(instance.key), container):
            continue
        record = facts.record(instance.key)
        if outage is not None and outage.covers(container.finished_at):
            facts = facts.with_record(_with_engine_exit(record, instance, container, now))
        else:
            facts = facts.with_record(_with_exit(record, instance, container, now, chance))
        fresh.append(container)
    return facts, tuple(fresh)


def note_failure(
    record: InstanceRecord,
    instance: DesiredInstance,
    failure: Failure,
    now: datetime,
    chance: float,
) -> InstanceRecord:
    """The record after a step to bring the instance up failed: the next attempt waits longer than the last."""
    failures = record.failures + 1
    pause = delay_s(failures, instance.run.backoff, chance)
    return record.model_copy(
        update={
            "failures": failures,
            "failing_since": record.failing_since or now,
            "failure": failure,
            "noticed_at": now,
            "delay_s": pause,
            "not_before": now + timedelta(seconds=pause),
        }
    )


def note_started(record: InstanceRecord, *, restart: bool, container_id: str = "") -> InstanceRecord:
    """The record after its container was started."""
    return record.model_copy(
        update={
            "running_id": container_id,
            "failing_since": record.failing_since if record.crashes else None,
            "restarts": record.restarts + restart,
            "failures": 0,
            "failure": None,
            "not_before": None,
            "was_made": True,
            "stopped_by_us": False,
        }
    )


def is_crash_looping(record: InstanceRecord, now: datetime) -> bool:
    """Whether it ended so often of late that people should be told."""
    return sum(now - at <= CRASH_LOOP_WINDOW for at in record.recent_exits) >= CRASH_LOOP_EXITS


def failing_since(record: InstanceRecord, container: Container | None, now: datetime) -> datetime | None:
    """Since when an instance keeps failing; one that has run for long enough by now does not any more."""
    if container is not None and container.is_up and container.started_at is not None:
        up_s = (now - container.started_at).total_seconds()
        if is_stable(up_s, record.delay_s):
            return None
    return record.failing_since


def describe_key(key: ContainerKey) -> str:
    """How an instance is named in the log."""
    return f"{key.workload_id} slot {key.slot} epoch {key.epoch}"


def exit_id(container: Container) -> str:
    """Which exit this is: a container may end more than once."""
    ended = container.finished_at.isoformat() if container.finished_at else ""
    return f"{container.id}@{ended}"


def is_noted(record: InstanceRecord, container: Container) -> bool:
    """Whether this exit was counted, so that the pause that follows from it is known."""
    return record.noticed_exit == exit_id(container)


def _is_news(instance: DesiredInstance, record: InstanceRecord, container: Container) -> bool:
    wanted_up = instance.desired is DesiredState.RUNNING and not record.stopped_by_us
    return wanted_up and has_ended(container) and not is_noted(record, container)


def _ran_s(container: Container) -> float:
    if container.started_at is None or container.finished_at is None:
        return 0.0
    return max(0.0, (container.finished_at - container.started_at).total_seconds())


def _with_engine_exit(
    record: InstanceRecord, instance: DesiredInstance, container: Container, now: datetime
) -> InstanceRecord:
    """Nothing is counted, and the container is due at once."""
    last = last_exit_of(container, instance, record, now)
    return record.model_copy(
        update={
            "last_exit": last.model_copy(update={"reason": f"{last.reason}, with the Docker Engine"}),
            "running_id": "",
            "noticed_at": None,
            "noticed_exit": exit_id(container),
            "not_before": None,
            "was_made": True,
            "failure": None,
        }
    )


def _with_exit(
    record: InstanceRecord, instance: DesiredInstance, container: Container, now: datetime, chance: float
) -> InstanceRecord:
    gave_up = record.dead if is_dead(record, container) else None
    ran_s = gave_up.worked_s if gave_up else _ran_s(container)
    crashes = crashes_in_a_row(record.crashes, ran_s, record.delay_s)
    pause = restart_delay_s(crashes, ran_s, instance.run.backoff, chance)
    return record.model_copy(
        update={
            "last_exit": last_exit_of(container, instance, record, now),
            "running_id": "",
            "failing_since": now if crashes == 1 else record.failing_since or now,
            "crashes": crashes,
            "noticed_at": now,
            "noticed_exit": exit_id(container),
            "delay_s": pause,
            "not_before": now + timedelta(seconds=pause),
            "was_made": True,
            "failure": None,
            "recent_exits": (*record.recent_exits, now)[-CRASH_LOOP_EXITS:],
        }
    )
