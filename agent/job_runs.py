"""How the runs of jobs go on: what is due begins, what has ended is noted, what may not go on is cut short.  Pure.

`advance` changes what is remembered, before anything is done about it: a run that is not in the journal has no container.  A run that began is
never begun again, so an agent that is killed at any point makes each run once at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from agent.backoff import delay_s
from agent.exits import exit_id, has_ended
from agent.facts import Facts, key_text
from agent.job_facts import JobRecord, RunRecord, bounded, run_id_at, scheduled_run
from agent.job_plan import run_until
from agent.last_exits import exit_reason, exit_words
from agent.naming import RUN, key_from
from agent.ticks import Due, due
from lattice.contracts.messages import DesiredDocument, DesiredInstance
from lattice.contracts.nouns import ContainerKey, DesiredState, JobRun, JobRunState, RunTrigger
from lattice.contracts.spec import Overlap, RestartMode
from lattice.runtime import Container

# Runs beside each other, where that is allowed: each takes as much of the node as the workload may.
MOST_AT_ONCE = 5
# Attempts to bring a run's container up; what failed so often (an image that cannot be had) fails the run.
ATTEMPTS_TO_BEGIN = 5
_LAST_LINES, _LINE_LENGTH = 10, 300
_TAKEN_AWAY = "its instance was taken away"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What the runs of one instance are judged by; `instance` is None where the document does not want it (any more)."""

    instance: DesiredInstance | None
    buried: bool
    containers: Mapping[str, Container]
    tails: Mapping[str, tuple[str, ...]]
    facts: Facts
    now: datetime
    chance: float

    @property
    def wanted(self) -> bool:
        return self.instance is not None and self.instance.desired is DesiredState.RUNNING


def advance(
    document: DesiredDocument | None,
    containers: Iterable[Container],
    facts: Facts,
    now: datetime,
    chance: float,
    *,
    refused: frozenset[ContainerKey] = frozenset(),
    tails: Mapping[str, tuple[str, ...]] | None = None,
) -> Facts:
    """The facts with every run brought up to date; the same facts where nothing changed.  `tails` are last lines by container id."""
    if document is None:
        return facts
    own = _by_instance(containers)
    wanted = {i.key: i for i in document.instances if i.run.job is not None and i.key not in refused}
    buried = _buried(document)
    for key in dict.fromkeys([*wanted, *(record.key for record in facts.jobs.values())]):
        text = key_text(key)
        before = facts.jobs.get(text)
        scene = Scene(
            instance=wanted.get(key),
            buried=key.epoch <= buried.get((key.workload_id, key.slot), -1),
            containers=own.get(key, {}),
            tails=tails or {},
            facts=facts,
            now=now,
            chance=chance,
        )
        record = before or JobRecord(key=key, handled_at=_since(wanted[key], now))
        after = _stamped(before, _begin(_settle(record, scene), scene), facts)
        if after != before:
            facts = _kept(facts, after, record)
    return facts


def _by_instance(containers: Iterable[Container]) -> dict[ContainerKey, dict[str, Container]]:
    found: dict[ContainerKey, dict[str, Container]] = {}
    for container in containers:
        key = key_from(container.labels)
        if key is not None and RUN in container.labels:
            found.setdefault(key, {})[container.labels[RUN]] = container
    return found


def _buried(document: DesiredDocument) -> dict[tuple[str, int], int]:
    """slot -> up to which epoch the document orders everything gone."""
    gone: dict[tuple[str, int], int] = {}
    for key, epoch in [
        *((t.key, t.key.epoch) for t in document.tombstones),
        *((i.key, i.key.epoch - 1) for i in document.instances),
    ]:
        slot = (key.workload_id, key.slot)
        gone[slot] = max(gone.get(slot, -1), epoch)
    return gone


def _since(instance: DesiredInstance, now: datetime) -> datetime:
    return min(instance.since or now, now)


def _stamped(before: JobRecord | None, after: JobRecord, facts: Facts) -> JobRecord:
    """The record whose changed runs carry a new serial, so that they are told."""
    known = {run.run_id: run for run in before.runs} if before else {}
    # After the journal was lost, what the registry has heard is the measure.
    serial = max(facts.run_serial, facts.runs_known) + 1

    def stamp(run: JobRun) -> JobRun:
        return run if known.get(run.run_id) == run else run.model_copy(update={"serial": serial})

    under_way = tuple(each.model_copy(update={"run": stamp(each.run)}) for each in after.under_way)
    ended = bounded((stamp(run) for run in after.ended), known=facts.runs_known)
    return after.model_copy(update={"under_way": under_way, "ended": ended})


def _kept(facts: Facts, record: JobRecord, before: JobRecord) -> Facts:
    newest = max((run.serial for run in record.runs), default=0)
    changes: dict[str, object] = {
        "jobs": {**facts.jobs, key_text(record.key): record},
        "run_serial": max(facts.run_serial, newest),
    }
    facts = facts.model_copy(update=changes)
    left = {each.run.run_id for each in record.under_way}
    if all(each.run.run_id in left for each in before.under_way):
        return facts
    # What kept a run from beginning is over with it; the next one begins afresh.
    cleared = {"failures": 0, "failure": None, "not_before": None}
    return facts.with_record(facts.record(record.key).model_copy(update=cleared))


# ------------------------------------------------------------------------------------------------ what is under way


def _settle(record: JobRecord, scene: Scene) -> JobRecord:
    """Note how runs have gone on and which of them have ended."""
    seen = [_without_begin(_look(each, scene), scene) for each in record.under_way]
    ended = [each.run for each in seen if each is not None and each.run.state.ended]
    left = [each for each in seen if each is not None and not each.run.state.ended]
    return record.model_copy(update={"under_way": tuple(left), "ended": (*record.ended, *ended)})


def _without_begin(each: RunRecord, scene: Scene) -> RunRecord | None:
    """A run that may not begin any more: one of a schedule is skipped; one that was asked for is no run, and stays asked for."""
    stopped = scene.instance is not None and not scene.wanted
    if each.run.state.ended or each.run.started_at is not None or not (scene.buried or stopped):
        return each
    if each.run.trigger is not RunTrigger.SCHEDULE:
        return None
    return _with_run(each, state=JobRunState.SKIPPED, reason=each.cut or _TAKEN_AWAY, finished_at=scene.now)


def _look(each: RunRecord, scene: Scene) -> RunRecord:
    container = scene.containers.get(each.run.run_id)
    if container is None:
        return _without_container(each, scene)
    each = _cut(each, scene)
    if container.is_up:
        return _with_run(
            each,
            state=JobRunState.RUNNING,
            started_at=each.run.started_at or container.started_at,
            container_id=container.id,
            attempts=max(1, each.run.attempts),
        )
    return _after_exit(each, container, scene) if has_ended(container) else each


def _cut(each: RunRecord, scene: Scene) -> RunRecord:
    """Whether a run may go on; why not is said once."""
    until = run_until(scene.instance, each) if scene.instance else None
    cut = each.cut
    if not cut and scene.buried:
        cut = _TAKEN_AWAY
    if not cut and scene.instance is not None and scene.instance.desired is DesiredState.STOPPED:
        cut = "its workload was stopped"
    if not cut and until is not None and scene.now >= until and scene.instance and scene.instance.run.job:
        cut = f"it took longer than its deadline of {scene.instance.run.job.deadline_s:g} s"
    return each if cut == each.cut else each.model_copy(update={"cut": cut})


def _without_container(each: RunRecord, scene: Scene) -> RunRecord:
    if each.run.started_at is not None:
        why = each.cut or (_TAKEN_AWAY if scene.buried else "its container vanished")
        return _ended(each, JobRunState.FAILED, why, scene)
    failed = scene.facts.record(each.run.key)
    if failed.failure and (failed.failure.final or failed.failures >= ATTEMPTS_TO_BEGIN):
        return _ended(each, JobRunState.FAILED, f"it could not begin: {failed.failure.reason}", scene)
    return each


def _after_exit(each: RunRecord, container: Container, scene: Scene) -> RunRecord:
    if each.noticed_exit == exit_id(container):
        return _ended(each, JobRunState.FAILED, each.cut, scene) if each.cut else each
    each = _with_run(
        each,
        started_at=each.run.started_at or container.started_at or scene.now,
        container_id=container.id,
        exit_code=container.exit_code,
        attempts=each.run.attempts + (1 if each.noticed_exit or not each.run.attempts else 0),
        last_log=_tail(scene.tails.get(container.id, ())),
    ).model_copy(update={"noticed_exit": exit_id(container)})
    if each.cut:
        return _ended(each, JobRunState.FAILED, each.cut, scene, container)
    if container.exit_code == 0 and not container.oom_killed:
        return _ended(each, JobRunState.SUCCEEDED, "", scene, container)
    reason = exit_reason(container, scene.instance) if scene.instance else exit_words(container.exit_code)
    if _tries_again(each, scene):
        return _again(each, reason, scene)
    return _ended(each, JobRunState.FAILED, reason, scene, container)


def _tries_again(each: RunRecord, scene: Scene) -> bool:
    run = scene.instance.run if scene.wanted and scene.instance else None
    if run is None or run.job is None or run.restart is not RestartMode.ON_FAILURE:
        return False
    return each.run.attempts <= run.job.retries


def _again(each: RunRecord, reason: str, scene: Scene) -> RunRecord:
    assert scene.instance is not None
    pause_s = delay_s(each.run.attempts, scene.instance.run.backoff, scene.chance)
    text = f"{reason}; trying again after a pause of {pause_s:.0f} s"
    again = _with_run(each, state=JobRunState.RUNNING, reason=text)
    return again.model_copy(update={"not_before": scene.now + timedelta(seconds=pause_s)})


def _ended(
    each: RunRecord, state: JobRunState, reason: str, scene: Scene, container: Container | None = None
) -> RunRecord:
    at = container.finished_at if container is not None and container.finished_at else scene.now
    return _with_run(each, state=state, reason=reason, finished_at=at)


def _with_run(each: RunRecord, **changes: object) -> RunRecord:
    return each.model_copy(update={"run": each.run.model_copy(update=changes)})


def _tail(lines: Sequence[str]) -> tuple[str, ...]:
    return tuple(line[:_LINE_LENGTH] for line in lines[-_LAST_LINES:])


# ------------------------------------------------------------------------------------------------ what begins


@dataclass(slots=True)
class _Opening:
    """The runs that begin now, and those that were due and do not."""

    record: JobRecord
    allowed: int
    begun: list[JobRun] = field(default_factory=list)
    skipped: list[JobRun] = field(default_factory=list)

    @property
    def has_room(self) -> bool:
        return len(self.record.under_way) + len(self.begun) < self.allowed


def _begin(record: JobRecord, scene: Scene) -> JobRecord:
    """Begin what was asked for and what is due."""
    instance = scene.instance
    job = instance.run.job if instance else None
    if instance is None or job is None:
        return record
    beside = job.schedule is not None and job.schedule.overlap is Overlap.ALLOW
    opening = _Opening(record, MOST_AT_ONCE if beside else 1)
    handled_at = record.handled_at
    if job.schedule is not None:
        asked = due(job.schedule, handled_at, scene.now)
        handled_at = asked.handled_at
        if scene.wanted:
            _open_scheduled(opening, asked, instance, scene)
    if scene.wanted:
        _open_requested(opening, instance)
    return record.model_copy(
        update={
            "handled_at": handled_at,
            "under_way": (*record.under_way, *(RunRecord(run=run) for run in opening.begun)),
            "ended": (*record.ended, *opening.skipped),
        }
    )


def _open_scheduled(opening: _Opening, asked: Due, instance: DesiredInstance, scene: Scene) -> None:
    record = opening.record
    if asked.missed is not None and not record.knows(run_id_at(asked.missed)):
        missed = scheduled_run(record, instance.instance_id, asked.missed)
        opening.skipped.append(_skip(missed, "missed: the node or its agent was not running", scene.now))
    for instant in asked.run:
        run = scheduled_run(record, instance.instance_id, instant)
        if record.knows(run.run_id):
            continue
        if opening.has_room:
            late = "" if scene.now - instant <= timedelta(minutes=1) else "made up for: its time was missed"
            opening.begun.append(run.model_copy(update={"reason": late}))
        else:
            busy = "the run before was" if opening.allowed == 1 else f"{opening.allowed} runs were"
            opening.skipped.append(_skip(run, f"{busy} still under way", scene.now))


def _skip(run: JobRun, reason: str, now: datetime) -> JobRun:
    return run.model_copy(update={"state": JobRunState.SKIPPED, "reason": reason, "finished_at": now})


def _open_requested(opening: _Opening, instance: DesiredInstance) -> None:
    """What was asked for waits until there is room."""
    for request in instance.run_requests:
        if opening.has_room and not opening.record.knows(request.run_id):
            opening.begun.append(
                JobRun(
                    run_id=request.run_id,
                    key=instance.key,
                    instance_id=instance.instance_id,
                    trigger=request.trigger,
                    scheduled_at=request.requested_at,
                )
            )
