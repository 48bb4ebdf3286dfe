"""What the agent must do, decided from what is wanted, what is there and what it remembers.  Pure: no clock, no chance, no Engine.

One function serves start-up, a new document, an Engine event and the periodic look: `diff`.  Its rules are the product's promises:

- a slot never has two containers: the older epoch is stopped and removed before the newer one is made (its image is fetched first, so that an
  image that cannot be had leaves the old container running);
- an epoch below the highest ever ordered for its slot is refused;
- only a tombstone, or a newer epoch of the same slot, removes a container; absence from the document never does;
- a container of this cluster that no document knows is quarantined: shown, untouched;
- one that ends by itself is started again after a pause; one that we stopped, at once;
- one that its liveness check gave up is ended, and then as if it had ended by itself; what any other check says ends nothing;
- a job's slot has a container for each of its runs (`job_plan`).

Each step says why.  The steps of one slot are in order, and each is decided anew before it is taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType

from agent.dead_runs import is_dead
from agent.exits import has_ended, is_noted, starts_again
from agent.facts import Facts, InstanceRecord, key_text
from agent.job_plan import plan_job
from agent.last_exits import exit_words
from agent.plan import Plan as Plan
from agent.plan import Refusal as Refusal
from agent.plan import SlotPlan as SlotPlan
from agent.plan import Step as Step
from agent.plan import Verb as Verb
from agent.plan import Wait as Wait
from agent.slot_views import SlotView, slot_views
from lattice.contracts.messages import DesiredDocument, DesiredInstance
from lattice.contracts.nouns import ContainerKey, DesiredState
from lattice.runtime import Container, RunState

NOTHING_REFUSED: Mapping[str, str] = MappingProxyType({})


def diff(
    document: DesiredDocument | None,
    containers: Iterable[Container],
    facts: Facts,
    now: datetime,
    *,
    prepared: frozenset[str] = frozenset(),
    refused: Mapping[str, str] = NOTHING_REFUSED,
) -> Plan:
    """What to do now.  `containers` are all of this cluster; `prepared` names (by `key_text`) the instances whose image is at hand, `refused`
    those for which no container may be made, with the reason."""
    views, strangers = slot_views(document, containers, facts)
    plans = {
        slot: plan_slot(view, facts, now, prepared=prepared, refused=refused) for slot, view in views.items()
    }
    unknown = [c for slot, view in views.items() for key, c in view.containers if not _is_known(view, key)]
    return Plan(
        slots={slot: plan for slot, plan in plans.items() if plan.steps or plan.wait or plan.refusal},
        quarantined=tuple(sorted([*strangers, *unknown], key=lambda container: container.name)),
    )


def refusal_of(view: SlotView) -> Refusal | None:
    """Why the instance that a document wants in this slot is not brought up, if it is not."""
    instance = view.instance
    if instance is None:
        return None
    epoch, highest = instance.key.epoch, view.highest_epoch
    if highest is not None and epoch < highest:
        reason = f"epoch {epoch} is older than {highest}, which this node was ordered before"
        return Refusal(key=instance.key, reason=reason)
    if epoch <= view.buried:
        return Refusal(key=instance.key, reason=f"the same document orders epoch {view.buried} to be gone")
    newer = [key.epoch for key, _ in view.containers if key.epoch > epoch]
    if newer:
        reason = f"epoch {epoch} is older than {max(newer)}, whose container is on this node"
        return Refusal(key=instance.key, reason=reason)
    return None


def plan_slot(
    view: SlotView,
    facts: Facts,
    now: datetime,
    *,
    prepared: frozenset[str] = frozenset(),
    refused: Mapping[str, str] = NOTHING_REFUSED,
) -> SlotPlan:
    """What one slot needs now."""
    refusal = refusal_of(view)
    burials = _remove_all(view, upto=view.buried, reason="it was ordered to be gone")
    if view.instance is None or refusal is not None:
        return SlotPlan(slot=view.slot, steps=burials, refusal=refusal)
    stopped = view.instance.desired is DesiredState.STOPPED
    reason = refused.get(key_text(view.instance.key), "")
    if reason and not stopped and _own(view, view.instance) is None:
        return SlotPlan(slot=view.slot, steps=burials, refusal=Refusal(key=view.instance.key, reason=reason))
    if view.instance.run.job is not None:
        older = _supersede(view)
        return plan_job(view, view.instance, facts, now, older=older, prepared=prepared)
    if stopped:
        return SlotPlan(slot=view.slot, steps=(*_supersede(view), *_stop(view, view.instance)))
    return _bring_up(view, view.instance, facts.record(view.instance.key), now, prepared=prepared)


def _is_known(view: SlotView, key: ContainerKey) -> bool:
    """Whether the document speaks of this container: wants it, buried it, or replaced it by a newer epoch."""
    if key.epoch <= view.buried:
        return True
    return view.instance is not None and refusal_of(view) is None and key.epoch <= view.instance.key.epoch


def _remove_all(view: SlotView, *, upto: int, reason: str) -> tuple[Step, ...]:
    steps: list[Step] = []
    for key, container in view.containers:
        if key.epoch > upto:
            continue
        if container.is_up:
            steps.append(Step(verb=Verb.STOP, key=key, reason=reason, container=container))
        steps.append(Step(verb=Verb.REMOVE, key=key, reason=reason, container=container))
    return tuple(steps)


def _supersede(view: SlotView) -> tuple[Step, ...]:
    if view.instance is None:
        return ()
    epoch = view.instance.key.epoch
    return _remove_all(view, upto=epoch - 1, reason=f"epoch {epoch} takes its place")


def _own(view: SlotView, instance: DesiredInstance) -> Container | None:
    return next((container for key, container in view.containers if key == instance.key), None)


def _stop(view: SlotView, instance: DesiredInstance) -> tuple[Step, ...]:
    container = _own(view, instance)
    if container is None or not container.is_up:
        return ()
    return (Step(verb=Verb.STOP, key=instance.key, reason="it is wanted stopped", container=container),)


def _bring_up(
    view: SlotView,
    instance: DesiredInstance,
    record: InstanceRecord,
    now: datetime,
    *,
    prepared: frozenset[str],
) -> SlotPlan:
    container = _own(view, instance)
    older = _supersede(view)
    if container is not None and container.is_up:
        return SlotPlan(slot=view.slot, steps=(*older, *_end_dead(record, container)))
    if container is not None and not older and _rests(instance, record, container):
        return SlotPlan(slot=view.slot)
    if container is not None and _ended_by_us_unnoted(record, container):
        return SlotPlan(slot=view.slot)
    if record.not_before is not None and not _is_due(record, now):
        wait = Wait(key=instance.key, until=record.not_before, reason=_wait_reason(record, container))
        return SlotPlan(slot=view.slot, wait=wait)
    if container is not None:
        return SlotPlan(slot=view.slot, steps=(*older, _start(instance, record, container)))
    return SlotPlan(slot=view.slot, steps=_make(instance, record, older, prepared=prepared))


def _rests(instance: DesiredInstance, record: InstanceRecord, container: Container) -> bool:
    """Whether a container that has ended is to stay so."""
    if container.state is RunState.CREATED or record.stopped_by_us:
        return False
    return not starts_again(instance, record, container)


def _end_dead(record: InstanceRecord, container: Container) -> tuple[Step, ...]:
    if record.dead is None or not is_dead(record, container):
        return ()
    return (Step(verb=Verb.STOP, key=record.key, reason=record.dead.reason, container=container),)


def _ended_by_us_unnoted(record: InstanceRecord, container: Container) -> bool:
    """A run that was given up has just been ended: it starts again when that is counted, since the pause follows from it."""
    return is_dead(record, container) and has_ended(container) and not is_noted(record, container)


def _is_due(record: InstanceRecord, now: datetime) -> bool:
    """A wall clock that jumped back must not turn a pause of seconds into hours: then the pause counts as over."""
    assert record.not_before is not None
    return now >= record.not_before or (record.noticed_at is not None and now < record.noticed_at)


def _wait_reason(record: InstanceRecord, container: Container | None) -> str:
    if record.failure is not None:
        return record.failure.reason
    return exit_words(container.exit_code) if container is not None else "its container vanished"


def _start(instance: DesiredInstance, record: InstanceRecord, container: Container) -> Step:
    if container.state is RunState.CREATED:
        reason, restart = "it was made and not yet started", False
    elif record.stopped_by_us:
        reason, restart = "it is wanted running again", False
    else:
        gave_up = record.dead.reason if record.dead and is_dead(record, container) else ""
        reason, restart = gave_up or f"it {exit_words(container.exit_code)}", True
    return Step(
        verb=Verb.START, key=instance.key, reason=reason, instance=instance, container=container,
        restart=restart,
    )  # fmt: skip


def _make(
    instance: DesiredInstance,
    record: InstanceRecord,
    older: tuple[Step, ...],
    *,
    prepared: frozenset[str],
) -> tuple[Step, ...]:
    reason = "its container vanished" if record.was_made else "it is wanted running"
    pull = Step(verb=Verb.PULL, key=instance.key, reason=reason, instance=instance)
    create = Step(
        verb=Verb.CREATE, key=instance.key, reason=reason, instance=instance, restart=record.was_made
    )
    start = Step(verb=Verb.START, key=instance.key, reason=reason, instance=instance)
    pulls = () if key_text(instance.key) in prepared else (pull,)
    return (*pulls, *older, create, start)
