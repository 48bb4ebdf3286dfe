"""Jobs in the registry: runs are asked for, recorded once, and kept as history when a lost node tells of them late."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from lattice.contracts.messages import (
    DeleteWorkload,
    DesiredInstance,
    GetByName,
    ListRuns,
    UpdateWorkload,
    WorkloadCommand,
)
from lattice.contracts.nouns import (
    JobRun,
    JobRunState,
    ObservedContainer,
    OperationState,
    Phase,
    RunTrigger,
    WorkloadState,
)
from lattice.contracts.spec import RestartMode, WorkloadSpec
from lattice.contracts.views import JobRunView
from lattice.errors import Conflict, Invalid
from services.registry import job_runs, reading, workload_update, workloads
from services.registry.job_rules import Place, Recorded, fold_run, requests_for
from tests.fixtures.registry_world import CALLER, World

NIGHTLY: dict[str, Any] = {"cron": "0 3 * * *", "timezone": "Europe/Berlin"}
JOB: dict[str, Any] = {"name": "report", "kind": "job", "image": "busybox:1"}


def at_rest(instance: DesiredInstance, **more: Any) -> ObservedContainer:
    plain = {"phase": Phase.STOPPED, "ended": True}
    return ObservedContainer(key=instance.key, instance_id=instance.instance_id, **{**plain, **more})


def run_of(
    instance: DesiredInstance, run_id: str, state: JobRunState, *, serial: int, at: datetime, **more: Any
) -> JobRun:
    plain: dict[str, Any] = {"trigger": RunTrigger.MANUAL, "scheduled_at": at, "started_at": at}
    return JobRun(
        run_id=run_id, key=instance.key, instance_id=instance.instance_id, state=state, serial=serial,
        **{**plain, **more},
    )  # fmt: skip


async def runs(world: World) -> list[JobRunView]:
    return list((await job_runs.list_runs(world.deps, ListRuns(ref="report"))).items)


async def run_now(world: World) -> JobRunView:
    return await job_runs.run_job(world.deps, WorkloadCommand(caller=CALLER, workload="report"))


# ------------------------------------------------------------------------------------------------ the spec


def test_a_job_is_not_started_again_when_nothing_else_is_said() -> None:
    assert WorkloadSpec(**JOB).restart.policy is RestartMode.NEVER
    given = WorkloadSpec(**JOB, restart={"policy": "on-failure"}, job={"retries": 2, "deadline": "10m"})
    assert given.restart.policy is RestartMode.ON_FAILURE and given.job is not None
    assert WorkloadSpec.model_validate(given.model_dump(mode="json")) == given


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"kind": "service", "schedule": NIGHTLY}, "for jobs only"),
        ({"kind": "service", "job": {"retries": 1}}, "for jobs only"),
        ({"restart": {"policy": "always"}}, "never or on-failure"),
        ({"replicas": 2}, "replicas"),
        ({"health": {"exec": {"command": ["true"]}}}, "health"),
        ({"schedule": {"cron": "0 3 * *"}}, "five fields"),
        ({"schedule": {"cron": "0 3 * * *", "timezone": "Mars/Base"}}, "no time zone"),
        ({"schedule": {"cron": "0 3 * * *", "seconds": 1}}, "Extra inputs"),
        (
            {"schedule": NIGHTLY | {"overlap": "allow"}, "volumes": [{"name": "data", "path": "/data"}]},
            "cannot share",
        ),
        ({"image": None, "template": "postgres"}, "a template is a service"),
    ],
)
def test_what_makes_no_sense_for_a_job_is_refused(change: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        WorkloadSpec(**{**JOB, **change})


# ------------------------------------------------------------------------------------------------ rules


def recorded(**more: Any) -> Recorded:
    plain: dict[str, Any] = {
        "id": "jr-1", "run_id": "jr-1", "instance_id": "in-1", "trigger": RunTrigger.MANUAL, "revision": 1,
        "state": JobRunState.RUNNING, "scheduled_at": datetime.fromisoformat("2026-01-01T00:00:00Z"),
    }  # fmt: skip
    return Recorded(**{**plain, **more})


def test_an_open_run_is_asked_of_the_instance_that_has_it() -> None:
    mine, other = (Place(instance_id=name, revision=1, is_current=True) for name in ("in-1", "in-2"))
    assert [r.run_id for r in requests_for(mine, [recorded()], lost=())] == ["jr-1"]
    assert requests_for(other, [recorded()], lost=()) == ()
    assert [r.run_id for r in requests_for(other, [recorded()], lost={"in-1"})] == ["jr-1"]
    for done in (
        recorded(state=JobRunState.FAILED),
        recorded(duplicate=True),
        recorded(trigger=RunTrigger.SCHEDULE),
    ):
        assert requests_for(mine, [done], lost=()) == ()


def test_what_an_accepted_spec_asks_for_is_run_with_that_spec_only() -> None:
    asked = recorded(instance_id=None, state=JobRunState.PENDING, trigger=RunTrigger.DEPLOY, revision=2)
    assert requests_for(Place(instance_id="in-2", revision=3, is_current=True), [asked], lost=()) == ()
    assert requests_for(Place(instance_id="in-1", revision=2, is_current=False), [asked], lost=()) == ()
    assert len(requests_for(Place(instance_id="in-3", revision=2, is_current=True), [asked], lost=())) == 1


def test_a_report_never_opens_again_what_has_ended(world: World) -> None:
    key = {"workload_id": "wl-1", "slot": 0, "epoch": 1}
    seen = JobRun(
        run_id="jr-1", key=key, instance_id="in-1", trigger=RunTrigger.MANUAL,
        scheduled_at=world.clock.now(), state=JobRunState.RUNNING,
    )  # fmt: skip
    assert not fold_run(seen, [recorded(state=JobRunState.SUCCEEDED)], live={"in-1"}).is_news


# ------------------------------------------------------------------------------------------------ asked for and recorded


async def test_a_job_without_a_schedule_runs_once_when_it_is_accepted(world: World) -> None:
    accepted = await world.create(**JOB)
    await world.place_all()
    document = await world.document()
    (instance,) = document.instances
    assert instance.run.job is not None and instance.run.job.schedule is None
    (asked,) = instance.run_requests
    assert asked.trigger is RunTrigger.DEPLOY
    now = world.clock.now()
    under_way = run_of(
        instance, asked.run_id, JobRunState.RUNNING, serial=1, at=now, trigger=RunTrigger.DEPLOY
    )
    up = at_rest(instance, phase=Phase.RUNNING, health="healthy", ended=False)
    await world.report(up, generation=document.generation, runs=(under_way,))
    assert await world.operation(accepted) is OperationState.SUCCEEDED
    assert (await world.document()).instances[0].run_requests == (asked,)  # until its end is known
    done = under_way.model_copy(update={"state": JobRunState.SUCCEEDED, "exit_code": 0, "serial": 2})
    await world.report(at_rest(instance), generation=document.generation, runs=(done,))
    newest = await world.document()
    assert newest.instances[0].run_requests == () and newest.runs_known == 2
    (run,) = await runs(world)
    assert (run.id, run.state, run.exit_code, run.node) == (asked.run_id, JobRunState.SUCCEEDED, 0, "one")
    view = await reading.get_workload(world.deps, GetByName(ref="report"))
    assert view.state is WorkloadState.STOPPED and view.last_run == run and view.next_run_at is None


async def test_a_one_off_whose_run_fails_fails_its_deploy(world: World) -> None:
    accepted = await world.create(**JOB)
    await world.place_all()
    document = await world.document()
    failed = at_rest(document.instances[0], phase=Phase.FAILED, reason="exited with 7", exit_code=7)
    await world.report(failed, generation=document.generation)
    assert await world.operation(accepted) is OperationState.FAILED


async def test_a_schedule_has_succeeded_once_its_node_has_it(world: World) -> None:
    accepted = await world.create(**JOB, schedule=NIGHTLY)
    await world.place_all()
    document = await world.document()
    (instance,) = document.instances
    assert instance.run_requests == () and instance.since is not None
    assert await world.operation(accepted) is not OperationState.SUCCEEDED
    await world.report(at_rest(instance), generation=document.generation)
    assert await world.operation(accepted) is OperationState.SUCCEEDED
    view = await reading.get_workload(world.deps, GetByName(ref="report"))
    assert view.next_run_at == datetime.fromisoformat("2026-01-01T02:00:00Z")
    await workloads.stop_workload(world.deps, WorkloadCommand(caller=CALLER, workload="report"))
    stopped = await reading.get_workload(world.deps, GetByName(ref="report"))
    assert stopped.next_run_at is None


async def scheduled(world: World, **more: Any) -> DesiredInstance:
    await world.create(**JOB, schedule=NIGHTLY, **more)
    await world.place_all()
    document = await world.document()
    await world.report(at_rest(document.instances[0]), generation=document.generation)
    return document.instances[0]


async def test_a_run_is_recorded_once_however_often_it_is_told(world: World) -> None:
    instance, at = await scheduled(world), world.clock.now()
    run = run_of(
        instance, "20260101T0200Z", JobRunState.RUNNING, serial=1, at=at, trigger=RunTrigger.SCHEDULE
    )
    done = run.model_copy(
        update={"state": JobRunState.FAILED, "exit_code": 3, "serial": 2, "last_log": ("no",)}
    )
    for told in ((run,), (run,), (done,), (run,), (done,)):
        await world.report(at_rest(instance), generation=1, runs=told)
    (kept,) = await runs(world)
    assert (kept.state, kept.exit_code, kept.last_log, kept.duplicate) == (
        JobRunState.FAILED,
        3,
        ("no",),
        False,
    )
    skipped = run_of(
        instance, "20260102T0200Z", JobRunState.SKIPPED, serial=3, at=at, trigger=RunTrigger.SCHEDULE
    )
    await world.report(at_rest(instance), generation=1, runs=(skipped,))
    view = await reading.get_workload(world.deps, GetByName(ref="report"))
    assert view.last_run is not None and view.last_run.id == kept.id  # what was skipped is no run


async def test_a_node_speaks_of_its_own_instances_only(world: World) -> None:
    instance = await scheduled(world)
    other = instance.model_copy(update={"instance_id": "in-of-another"})
    run = run_of(other, "jr-x", JobRunState.SUCCEEDED, serial=9, at=world.clock.now())
    await world.report(at_rest(instance), generation=1, runs=(run,))
    assert await runs(world) == []


async def test_the_history_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_runs, "KEPT_RUNS", 5)
    instance = await scheduled(world)
    for number in range(8):
        world.clock.advance(60)
        run = run_of(instance, f"t{number}", JobRunState.SUCCEEDED, serial=number + 1, at=world.clock.now())
        await world.report(at_rest(instance), generation=1, runs=(run,))
    assert len(await runs(world)) == 5


async def test_run_now_reaches_the_node_and_is_refused_where_it_makes_no_sense(world: World) -> None:
    await scheduled(world)
    asked = await run_now(world)
    assert asked.state is JobRunState.PENDING and asked.trigger is RunTrigger.MANUAL
    assert [r.run_id for r in (await world.document()).instances[0].run_requests] == [asked.id]
    command = WorkloadCommand(caller=CALLER, workload="report")
    await workloads.stop_workload(world.deps, command)
    with pytest.raises(Conflict, match="is stopped; start it first"):
        await run_now(world)
    await world.create(name="web", image="nginx:1")
    with pytest.raises(Invalid, match="is a service"):
        await job_runs.run_job(world.deps, WorkloadCommand(caller=CALLER, workload="web"))


async def test_so_many_may_wait_and_no_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_runs, "MOST_WAITING", 2)
    await scheduled(world)
    await run_now(world)
    await run_now(world)
    with pytest.raises(Conflict, match="wait to begin already"):
        await run_now(world)


async def test_an_update_of_a_one_off_runs_the_new_spec_instead(world: World) -> None:
    await world.create(**JOB)
    spec = WorkloadSpec(**JOB, env={"A": "b"})
    request = UpdateWorkload(caller=CALLER, workload="report", spec=spec)
    answer = await workload_update.update_workload(world.deps, request)
    assert answer.workload is not None and answer.workload.rollout is not None
    assert answer.workload.rollout.order == "stop-first"
    second, first = await runs(world)
    assert (first.state, first.revision) == (JobRunState.SKIPPED, 1)
    assert (second.state, second.revision) == (JobRunState.PENDING, 2)


async def test_a_job_can_be_removed_while_a_run_is_open(world: World) -> None:
    instance = await scheduled(world)
    await run_now(world)
    await workloads.delete_workload(world.deps, DeleteWorkload(caller=CALLER, workload="report"))
    document = await world.document()
    assert document.instances == () and document.tombstones[0].key == instance.key
    await world.report(generation=document.generation)
    await scheduled(world)  # its name is free
    assert await runs(world) == []


async def test_a_late_tale_of_a_lost_node_is_kept_and_marked(world: World) -> None:
    """The same time of a schedule, told by the instance that took over first."""
    instance = await scheduled(world)
    at = world.clock.now() + timedelta(hours=2)
    command = WorkloadCommand(caller=CALLER, workload="report")
    await workloads.restart_workload(world.deps, command)
    await world.place_all()
    document = await world.document()
    (newer,) = document.instances
    first = run_of(
        newer, "20260101T0200Z", JobRunState.SUCCEEDED, serial=5, at=at, trigger=RunTrigger.SCHEDULE
    )
    late = run_of(
        instance, "20260101T0200Z", JobRunState.FAILED, serial=4, at=at, trigger=RunTrigger.SCHEDULE
    )
    await world.report(at_rest(newer), generation=document.generation, runs=(first,))
    await world.report(at_rest(newer), generation=document.generation, runs=(late,))
    assert sorted((run.instance_id, run.duplicate) for run in await runs(world)) == sorted(
        [(newer.instance_id, False), (instance.instance_id, True)]
    )
