"""What the agent reports: one complete document of everything it sees, made from the same values that it decides on.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from agent.exits import failing_since, has_ended, is_crash_looping, starts_again
from agent.facts import Facts, InstanceRecord, key_text
from agent.job_observed import look_at_job
from agent.last_exits import exit_reason_with_log
from agent.naming import INSTANCE, RUN, Slot
from agent.reconcile import SlotPlan, Verb, refusal_of
from agent.slot_views import SlotView
from lattice.contracts.messages import DesiredInstance
from lattice.contracts.nouns import (
    ContainerKey,
    DesiredState,
    Health,
    LastExit,
    ObservedContainer,
    Phase,
    PortMapping,
    QuarantinedContainer,
)
from lattice.runtime import Container, RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """What the agent is doing for an instance right now."""

    verb: Verb
    progress: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What is known beside containers and facts: what is being done, what checks say, what was last printed."""

    activities: Mapping[str, Activity] = field(default_factory=dict)
    making: Mapping[Slot, DesiredInstance] = field(default_factory=dict)
    """Whose container is being made at this moment, so that it may be there although nobody has seen it."""
    health: Mapping[str, tuple[Health, str]] = field(default_factory=dict)
    last_logs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def observe(
    views: Mapping[Slot, SlotView],
    plans: Mapping[Slot, SlotPlan],
    facts: Facts,
    sight: Sight,
    now: datetime,
) -> tuple[ObservedContainer, ...]:
    """Every container that a document speaks of, and every instance that is still to get one."""
    seen: list[ObservedContainer] = []
    for slot in sorted(views):
        view = views[slot]
        own = view.instance.key if view.instance else None
        seen += [
            _leaving(key, container)
            for key, container in view.containers
            if key != own and _is_leaving(view, key)
        ]
        made = sight.making.get(slot)
        if made is not None and made.key != own and all(key != made.key for key, _ in view.containers):
            seen.append(_about_to_leave(made))
        if view.instance is not None:
            seen.append(_instance(view, view.instance, plans.get(slot), facts, sight, now))
    return tuple(seen)


def quarantined(containers: Iterable[Container]) -> tuple[QuarantinedContainer, ...]:
    """What no document knows, as it is shown to people."""
    return tuple(
        QuarantinedContainer(
            name=container.name,
            container_id=container.id,
            labels=dict(container.labels),
            running=container.is_up,
        )
        for container in containers
    )


def _is_leaving(view: SlotView, key: ContainerKey) -> bool:
    if key.epoch <= view.buried:
        return True
    return view.instance is not None and refusal_of(view) is None and key.epoch < view.instance.key.epoch


def _leaving(key: ContainerKey, container: Container) -> ObservedContainer:
    return ObservedContainer(
        key=key,
        instance_id=container.labels.get(INSTANCE, ""),
        phase=Phase.STOPPING,
        reason="being removed",
        **_of_container(container),
    )


def _about_to_leave(made: DesiredInstance) -> ObservedContainer:
    """One that was ordered gone while it was being made: it is gone when it has been there."""
    return ObservedContainer(
        key=made.key,
        instance_id=made.instance_id,
        phase=Phase.STOPPING,
        reason="it was ordered to be gone while it was being made",
    )


def _instance(
    view: SlotView,
    instance: DesiredInstance,
    plan: SlotPlan | None,
    facts: Facts,
    sight: Sight,
    now: datetime,
) -> ObservedContainer:
    refusal = plan.refusal if plan else None
    if instance.run.job is not None and refusal is None:
        return _job(view, instance, facts, sight)
    container = next((c for key, c in view.containers if key == instance.key), None)
    record = facts.record(instance.key)
    activity = sight.activities.get(key_text(instance.key))
    last_log = sight.last_logs.get(container.id, ()) if container else ()
    if refusal is not None:
        phase, reason = Phase.FAILED, f"refused: {refusal.reason}"
    else:
        phase, reason = _phase(instance, container, record, activity, now, last_log)
    health, why = sight.health.get(container.id, (Health.UNKNOWN, "")) if container else (Health.UNKNOWN, "")
    is_running = phase is Phase.RUNNING
    return ObservedContainer(
        key=instance.key,
        instance_id=instance.instance_id,
        phase=phase,
        health=health if is_running else Health.UNKNOWN,
        reason=why if is_running and why else reason,
        progress=activity.progress if activity else "",
        ended=(ended := refusal is None and _rests(instance, container, record)),
        restarts=record.restarts,
        last_log=last_log,
        last_exit=_last_exit(record, last_log),
        failing_since=None if ended else failing_since(record, container, now),
        **(_of_container(container, instance) if container else {}),
    )


def _job(view: SlotView, instance: DesiredInstance, facts: Facts, sight: Sight) -> ObservedContainer:
    text = key_text(instance.key)
    activity = sight.activities.get(text)
    own = {c.labels.get(RUN, ""): c for key, c in view.containers if key == instance.key}
    pulling = activity is not None and activity.verb is Verb.PULL
    look = look_at_job(instance, own, facts.jobs.get(text), facts.record(instance.key), pulling=pulling)
    return ObservedContainer(
        key=instance.key,
        instance_id=instance.instance_id,
        phase=look.phase,
        health=look.health,
        reason=look.reason,
        progress=activity.progress if activity else "",
        ended=look.ended,
        last_log=sight.last_logs.get(look.container.id, ()) if look.container else (),
        **(_of_container(look.container, instance) if look.container else {}),
    )


def _phase(
    instance: DesiredInstance,
    container: Container | None,
    record: InstanceRecord,
    activity: Activity | None,
    now: datetime,
    last_log: Sequence[str],
) -> tuple[Phase, str]:
    if instance.desired is DesiredState.STOPPED:
        up = container is not None and container.is_up
        return (Phase.STOPPING, "being stopped") if up else (Phase.STOPPED, "stopped as ordered")
    if container is not None and container.is_up:
        return Phase.RUNNING, _running_reason(container, record, now)
    if record.failure is not None:
        return _after_failure(record, vanished=container is None and record.was_made)
    if container is not None and has_ended(container) and not record.stopped_by_us:
        return _after_exit(instance, container, record, now, last_log)
    if activity is not None and activity.verb is Verb.PULL:
        return Phase.PULLING, ""
    return (Phase.STARTING, "") if container is not None or activity is not None else (Phase.PENDING, "")


def _running_reason(container: Container, record: InstanceRecord, now: datetime) -> str:
    """What runs at this moment and will not for long is no success."""
    if container.state is RunState.PAUSED:
        return "paused on the node"
    if record.last_exit is not None and is_crash_looping(record, now):
        return f"crash-looping: {record.last_exit.reason}; it was started again"
    return ""


def _last_exit(record: InstanceRecord, last_log: tuple[str, ...]) -> LastExit | None:
    """What the container printed is told once."""
    if record.last_exit is None or not last_log:
        return record.last_exit
    return record.last_exit.model_copy(update={"log": ()})


def _rests(instance: DesiredInstance, container: Container | None, record: InstanceRecord) -> bool:
    """Whether it ended by itself and will not be started again."""
    if container is None or not has_ended(container) or record.stopped_by_us:
        return False
    wanted = instance.desired is DesiredState.RUNNING and record.failure is None
    return wanted and not starts_again(instance, record, container)


def _after_failure(record: InstanceRecord, *, vanished: bool) -> tuple[Phase, str]:
    """A failure that time may heal leaves the instance where it was on its way; one that needs another order fails it.

    One whose container vanished was running once: `starting` would not be believed of it, and it does not run.
    """
    assert record.failure is not None
    reason = f"{record.failure.reason}; trying again (attempt {record.failures + 1})"
    if record.failure.final:
        return Phase.FAILED, record.failure.reason
    if vanished:
        return Phase.FAILED, f"its container is gone, and no other can be made: {reason}"
    return (Phase.PULLING if record.failure.step == Verb.PULL else Phase.STARTING), reason


def _after_exit(
    instance: DesiredInstance,
    container: Container,
    record: InstanceRecord,
    now: datetime,
    last_log: Sequence[str],
) -> tuple[Phase, str]:
    reason = exit_reason_with_log(container, instance, record, last_log)
    if not starts_again(instance, record, container):
        ended_well = container.exit_code == 0 and not container.oom_killed
        return (Phase.STOPPED if ended_well else Phase.FAILED), reason
    if is_crash_looping(record, now):
        reason = f"crash-looping: {reason}"
    return Phase.FAILED, f"{reason}; restarting after a pause of {record.delay_s:.0f} s"


def _of_container(container: Container, instance: DesiredInstance | None = None) -> dict[str, object]:
    ended = has_ended(container)
    return {
        "container_id": container.id,
        "image_id": container.image_id,
        "started_at": container.started_at,
        "finished_at": container.finished_at if ended else None,
        "exit_code": container.exit_code if ended else None,
        "oom_killed": container.oom_killed,
        "ports": _ports(container, instance) if instance is not None else (),
    }


def _ports(container: Container, instance: DesiredInstance) -> tuple[PortMapping, ...]:
    published = {port.container_port: port for port in container.ports}
    return tuple(
        PortMapping(
            name=port.name,
            container_port=port.container_port,
            protocol=port.protocol,
            host_ip=published[port.container_port].host_ip,
            host_port=published[port.container_port].host_port,
        )
        for port in instance.run.ports
        if port.container_port in published
    )
