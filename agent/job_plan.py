"""What the slot of a job needs: a container for each run that is under way, and none for anything else.  Pure.

A run's name is part of its container's: the Engine refuses a second one of that name, so a run is never made twice, whatever the agent forgot.
The container of the newest run that has ended stays, to be looked at, until another one has ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from agent.exits import exit_id
from agent.facts import Facts, key_text
from agent.job_facts import JobRecord, RunRecord
from agent.naming import RUN
from agent.plan import SlotPlan, Step, Verb, Wait
from agent.slot_views import SlotView
from agent.ticks import next_look
from lattice.contracts.messages import DesiredInstance
from lattice.contracts.nouns import DesiredState
from lattice.runtime import Container, RunState

_Containers = Mapping[str, Container]


def plan_job(
    view: SlotView,
    instance: DesiredInstance,
    facts: Facts,
    now: datetime,
    *,
    older: tuple[Step, ...],
    prepared: frozenset[str],
) -> SlotPlan:
    """What the slot needs now; `older` takes earlier epochs away."""
    own = {c.labels.get(RUN, ""): c for key, c in view.containers if key == instance.key}
    record = facts.jobs.get(key_text(instance.key))
    under_way = record.under_way if record else ()
    steps = [*older, *_clear(instance, own, {each.run.run_id for each in under_way}, now)]
    waits = [] if record is None else _next_look(instance, record, now)
    for each in under_way:
        more = _further(instance, each, own.get(each.run.run_id), facts, now, prepared=prepared)
        if isinstance(more, Wait):
            waits.append(more)
        else:
            steps += more
    wait = min(waits, key=lambda each: each.until, default=None)
    steps.sort(key=lambda step: step.verb is not Verb.STOP)  # an image that is long in coming holds up no end
    return SlotPlan(slot=view.slot, steps=tuple(steps), wait=wait)


def run_until(instance: DesiredInstance, each: RunRecord) -> datetime | None:
    """When a run has taken as long as it may."""
    job, started_at = instance.run.job, each.run.started_at
    if job is None or job.deadline_s is None or started_at is None:
        return None
    return started_at + timedelta(seconds=job.deadline_s)


def _next_look(instance: DesiredInstance, record: JobRecord, now: datetime) -> list[Wait]:
    job = instance.run.job
    if job is None or job.schedule is None:
        return []
    until = next_look(job.schedule, record.handled_at, now)
    return [Wait(key=instance.key, until=until, reason="its schedule")]


def _clear(instance: DesiredInstance, own: _Containers, wanted: set[str], now: datetime) -> list[Step]:
    """End what no run is under way for, and remove all of it but the newest."""
    others = sorted(
        (c for run_id, c in own.items() if run_id not in wanted),
        key=lambda c: (c.started_at is not None, c.started_at or now, c.name),
    )
    steps = []
    for number, container in enumerate(others, start=1):
        run_id, reason = container.labels.get(RUN, ""), "no run is under way in it"
        if container.is_up:
            steps.append(_step(Verb.STOP, instance, run_id, reason, container))
        elif number < len(others):
            steps.append(_step(Verb.REMOVE, instance, run_id, "a newer run has ended", container))
    return steps


def _further(
    instance: DesiredInstance,
    each: RunRecord,
    container: Container | None,
    facts: Facts,
    now: datetime,
    *,
    prepared: frozenset[str],
) -> list[Step] | Wait:
    """What brings one run on."""
    run_id = each.run.run_id
    if container is not None and container.is_up:
        if each.cut:
            return [_step(Verb.STOP, instance, run_id, each.cut, container)]
        until = run_until(instance, each)
        return Wait(key=instance.key, until=until, reason="its deadline") if until else []
    if each.cut or instance.desired is not DesiredState.RUNNING:
        return []  # it is about to be noted as over
    due = max(filter(None, (each.not_before, facts.record(instance.key).not_before)), default=None)
    if due is not None and now < due:
        return Wait(key=instance.key, until=due, reason=each.run.reason or "the next attempt")
    if container is None:
        return _make(instance, each, prepared=prepared)
    if container.state is RunState.CREATED:
        return [_step(Verb.START, instance, run_id, "it was made and not yet started", container)]
    if each.not_before is None or each.noticed_exit != exit_id(container):
        return []  # how it ended is about to be noted
    return [_step(Verb.START, instance, run_id, each.run.reason, container)]


def _make(instance: DesiredInstance, each: RunRecord, *, prepared: frozenset[str]) -> list[Step]:
    if each.run.started_at is not None:
        return []  # it vanished: what it did cannot be done again
    reason = f"its run {each.run.run_id} is due ({each.run.trigger})"
    verbs = (
        (Verb.CREATE, Verb.START)
        if key_text(instance.key) in prepared
        else (Verb.PULL, Verb.CREATE, Verb.START)
    )
    return [_step(verb, instance, each.run.run_id, reason) for verb in verbs]


def _step(
    verb: Verb, instance: DesiredInstance, run_id: str, reason: str, container: Container | None = None
) -> Step:
    brings_up = verb not in (Verb.STOP, Verb.REMOVE)  # only then a failure is the instance's
    return Step(
        verb=verb,
        key=instance.key,
        reason=reason,
        instance=instance if brings_up else None,
        container=container,
        run_id=run_id,
    )
