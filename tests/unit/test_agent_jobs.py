"""Jobs on a node: what is due when, and what an agent does about it, with its clock in the test's hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import ticks
from agent.facts import Facts, key_text
from agent.job_facts import KEPT_KNOWN, KEPT_UNTOLD, bounded, untold
from agent.job_runs import MOST_AT_ONCE, advance
from agent.node import NodeAgent
from agent.reconcile import diff
from lattice import cron
from lattice.contracts.messages import DesiredDocument, DesiredInstance, JobOrder, RunRequest
from lattice.contracts.nouns import DesiredState, JobRun, JobRunState, Phase, RunTrigger
from lattice.contracts.spec import BackoffSpec, CatchUp, Overlap, RestartMode, ScheduleSpec
from lattice.runtime import Container, RunState
from lattice.testing import FakeRuntime, ManualClock
from tests.fixtures.agent import IMAGE, Node, eventually, instance_of, key_of, run_spec, tombstone_of

START = datetime(2026, 1, 1, 2, 59, 30, tzinfo=UTC)
THREE = datetime(2026, 1, 1, 3, tzinfo=UTC)
DAILY = "20260101T0300Z"
MINUTE = timedelta(minutes=1)


def job(
    *,
    schedule: ScheduleSpec | None = None,
    requests: tuple[str, ...] = (),
    trigger: RunTrigger = RunTrigger.MANUAL,
    desired: DesiredState = DesiredState.RUNNING,
    epoch: int = 1,
    retries: int = 0,
    deadline_s: float | None = None,
) -> DesiredInstance:
    plain = instance_of(key_of(epoch), desired=desired)
    run = run_spec(
        restart=RestartMode.ON_FAILURE if retries else RestartMode.NEVER,
        backoff=BackoffSpec(initial=1, max=1),
        job=JobOrder(schedule=schedule, retries=retries, deadline_s=deadline_s),
    )
    asked = tuple(RunRequest(run_id=each, trigger=trigger, requested_at=START) for each in requests)
    return plain.model_copy(update={"run": run, "since": START, "run_requests": asked})


def every(text: str, **more: Any) -> ScheduleSpec:
    return ScheduleSpec(cron=text, **more)


# ------------------------------------------------------------------------------------------------ which times are due


def test_a_time_is_met_for_a_minute_and_then_missed() -> None:
    schedule = every("0 3 * * *")
    assert ticks.due(schedule, START, THREE - MINUTE / 60).run == ()
    assert ticks.due(schedule, START, THREE + timedelta(seconds=59)).run == (THREE,)
    late = ticks.due(schedule, START, THREE + 2 * MINUTE)
    assert (late.run, late.missed, late.handled_at) == ((), THREE, THREE)
    assert ticks.due(schedule, THREE, THREE + 2 * MINUTE) == ticks.Due((), None, THREE)


def test_of_many_missed_ones_only_the_newest_is_made_up_for() -> None:
    now = THREE + timedelta(days=5, hours=1)
    caught = ticks.due(every("0 3 * * *", catch_up=CatchUp.LAST), START, now)
    assert caught == ticks.Due((THREE + timedelta(days=5),), None, THREE + timedelta(days=5))
    met = ticks.due(every("0 * * * *", catch_up=CatchUp.LAST), START, now)
    assert (met.run, met.missed) == ((now,), now - timedelta(hours=1))


def test_a_clock_that_was_ahead_and_is_set_right_silences_nothing() -> None:
    ahead = ticks.due(every("0 3 * * *"), THREE + timedelta(days=400), START)
    assert ahead.handled_at == START
    assert ticks.due(every("0 3 * * *"), START + MINUTE, START).handled_at == START + MINUTE


_looks = st.lists(st.integers(1, 5 * 3600), min_size=1, max_size=40)
_texts = st.sampled_from(["*/7 * * * *", "0 * * * *", "30 2 * * *", "15,45 1-4 * * *"])
_zones = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"])
_eves = st.sampled_from(
    [datetime(2026, 3, 28, 22, tzinfo=UTC), datetime(2026, 10, 24, 22, tzinfo=UTC), START]
)


@settings(max_examples=60, deadline=None)
@given(_looks, _texts, _zones, _eves, st.sampled_from(CatchUp))
def test_however_often_it_is_looked_at_a_time_runs_once_at_most(
    pauses_s: list[int], text: str, timezone: str, start: datetime, catch_up: CatchUp
) -> None:
    schedule = ScheduleSpec(cron=text, timezone=timezone, catch_up=catch_up)
    handled_at = now = start
    ran: list[datetime] = []
    looked: list[datetime] = []
    for pause_s in pauses_s:
        now += timedelta(seconds=pause_s)
        looked.append(now)
        asked = ticks.due(schedule, handled_at, now)
        ran += asked.run
        handled_at = asked.handled_at
    times = cron.between(text, timezone, start, now)
    assert ran == sorted(set(ran)) and set(ran) <= set(times)
    met = {at for at in times if any(at <= look < at + ticks.MET_FOR for look in looked)}
    assert met <= set(ran)
    if catch_up is CatchUp.NONE:
        assert all(any(at <= look <= at + ticks.MET_FOR for look in looked) for at in ran)
    elif times:
        assert ran[-1] == times[-1]  # the newest one is always made up for


# ------------------------------------------------------------------------------------------------ runs, purely


def document(*instances: DesiredInstance, **more: Any) -> DesiredDocument:
    return DesiredDocument(cluster_id="c1", node_id="nd-1", era=1, generation=1, instances=instances, **more)


class Machine:
    """An engine as a dictionary: decides, and does what was decided at once."""

    def __init__(self, instance: DesiredInstance) -> None:
        self.document, self.facts, self.now = document(instance), Facts(), START
        self.containers: dict[str, Container] = {}
        self.made: list[str] = []

    def look(self) -> None:
        for _ in range(12):
            self.facts = advance(self.document, self.containers.values(), self.facts, self.now, 0.0)
            plan = diff(
                self.document, self.containers.values(), self.facts, self.now,
                prepared=frozenset({key_text(key_of())}),
            )  # fmt: skip
            if plan.idle:
                return
            for slot in plan.slots.values():
                if slot.steps:
                    self._take(slot.steps[0])
        raise AssertionError("it does not come to rest")

    def _take(self, step: Any) -> None:
        run_id = step.run_id or step.container.labels.get("lattice.run", "")
        if step.verb == "create":
            assert run_id not in self.made, "a run is made once"
            self.made.append(run_id)
            labels = {
                "lattice.workload": "wl-1",
                "lattice.slot": "0",
                "lattice.epoch": "1",
                "lattice.run": run_id,
            }
            self.containers[run_id] = Container(
                id=run_id, name=run_id, image_id="i", labels=labels, state=RunState.CREATED
            )
        elif step.verb == "start":
            self._set(run_id, state=RunState.RUNNING, started_at=self.now)
        elif step.verb == "stop":
            self.end(run_id, 137)
        else:
            del self.containers[run_id]

    def _set(self, run_id: str, **changes: Any) -> None:
        from dataclasses import replace

        self.containers[run_id] = replace(self.containers[run_id], **changes)

    def end(self, run_id: str, exit_code: int) -> None:
        self._set(run_id, state=RunState.EXITED, exit_code=exit_code, finished_at=self.now)

    def at(self, now: datetime) -> None:
        self.now = now
        self.look()

    @property
    def runs(self) -> dict[str, JobRun]:
        return {run.run_id: run for record in self.facts.jobs.values() for run in record.runs}

    @property
    def up(self) -> list[str]:
        return [run_id for run_id, each in self.containers.items() if each.is_up]


def test_a_run_goes_from_its_time_to_its_end() -> None:
    machine = Machine(job(schedule=every("0 3 * * *")))
    machine.look()
    assert machine.runs == {}
    machine.at(THREE)
    assert machine.runs[DAILY].state is JobRunState.PENDING or machine.up == [DAILY]
    machine.look()
    assert machine.runs[DAILY].state is JobRunState.RUNNING
    machine.now += MINUTE
    machine.end(DAILY, 0)
    machine.look()
    run = machine.runs[DAILY]
    assert (run.state, run.exit_code, run.started_at, run.finished_at) == (
        JobRunState.SUCCEEDED,
        0,
        THREE,
        THREE + MINUTE,
    )
    assert (run.trigger, run.scheduled_at, run.attempts) == (RunTrigger.SCHEDULE, THREE, 1)
    assert list(machine.containers) == [DAILY]  # to be looked at


def test_only_the_newest_ended_container_stays() -> None:
    machine = Machine(job(schedule=every("*/5 * * * *")))
    for number in range(4):
        machine.at(THREE + 5 * number * MINUTE)
        machine.end(machine.up[0], 0)
        machine.look()
    assert list(machine.containers) == ["20260101T0315Z"]
    assert [run.state for run in machine.runs.values()] == [JobRunState.SUCCEEDED] * 4


def test_a_run_that_is_under_way_forbids_the_next() -> None:
    machine = Machine(job(schedule=every("*/5 * * * *")))
    machine.at(THREE)
    machine.at(THREE + 5 * MINUTE)
    assert machine.up == [DAILY]
    skipped = machine.runs["20260101T0305Z"]
    assert (skipped.state, skipped.reason) == (JobRunState.SKIPPED, "the run before was still under way")
    machine.end(DAILY, 0)
    machine.at(THREE + 10 * MINUTE)
    assert machine.up == ["20260101T0310Z"]


def test_runs_beside_each_other_are_bounded() -> None:
    machine = Machine(job(schedule=every("* * * * *", overlap=Overlap.ALLOW)))
    for number in range(MOST_AT_ONCE + 2):
        machine.at(THREE + number * MINUTE)
    assert len(machine.up) == MOST_AT_ONCE
    skipped = [run for run in machine.runs.values() if run.state is JobRunState.SKIPPED]
    assert len(skipped) == 2 and skipped[0].reason == f"{MOST_AT_ONCE} runs were still under way"


def test_what_was_missed_is_said_or_made_up_for() -> None:
    plain = Machine(job(schedule=every("0 3 * * *")))
    plain.at(THREE + timedelta(hours=2))
    assert plain.runs[DAILY].state is JobRunState.SKIPPED and "missed" in plain.runs[DAILY].reason
    caught = Machine(job(schedule=every("0 3 * * *", catch_up=CatchUp.LAST)))
    caught.at(THREE + timedelta(hours=2))
    assert caught.up == [DAILY] and "made up for" in caught.runs[DAILY].reason


def test_what_was_asked_for_runs_once_and_waits_for_its_turn() -> None:
    machine = Machine(job(requests=("jr-1", "jr-2")))
    machine.look()
    assert machine.up == ["jr-1"]
    machine.end("jr-1", 7)
    machine.look()
    assert machine.up == ["jr-2"]
    assert (machine.runs["jr-1"].state, machine.runs["jr-1"].reason) == (JobRunState.FAILED, "exited with 7")
    machine.end("jr-2", 0)
    machine.look()
    machine.look()
    assert machine.made == ["jr-1", "jr-2"] and machine.up == []


def test_a_run_that_fails_is_tried_again_so_often_and_no_more() -> None:
    machine = Machine(job(requests=("jr-1",), retries=2))
    for attempt in (1, 2):
        machine.look()
        assert machine.up == ["jr-1"]
        machine.end("jr-1", 9)
        machine.look()
        assert machine.up == [] and machine.runs["jr-1"].state is JobRunState.RUNNING
        assert machine.runs["jr-1"].attempts == attempt
        machine.now += 2 * MINUTE
    machine.look()
    machine.end("jr-1", 9)
    machine.look()
    run = machine.runs["jr-1"]
    assert (run.state, run.attempts, run.exit_code) == (JobRunState.FAILED, 3, 9)


def test_a_run_that_takes_too_long_is_ended() -> None:
    machine = Machine(job(requests=("jr-1",), deadline_s=60))
    machine.look()
    machine.at(machine.now + timedelta(seconds=59))
    assert machine.up == ["jr-1"]
    machine.at(machine.now + timedelta(seconds=1))
    run = machine.runs["jr-1"]
    assert machine.up == [] and run.state is JobRunState.FAILED
    assert run.reason == "it took longer than its deadline of 60 s" and run.exit_code == 137


def test_while_it_is_stopped_nothing_runs_and_nothing_is_made_up_for() -> None:
    machine = Machine(job(schedule=every("*/5 * * * *", catch_up=CatchUp.LAST)))
    machine.at(THREE)
    machine.document = document(job(schedule=every("*/5 * * * *"), desired=DesiredState.STOPPED))
    machine.at(THREE + MINUTE)
    assert machine.up == [] and machine.runs[DAILY].reason == "its workload was stopped"
    machine.at(THREE + 7 * MINUTE)
    machine.document = document(job(schedule=every("*/5 * * * *", catch_up=CatchUp.LAST)))
    machine.at(THREE + 8 * MINUTE)
    assert machine.up == []
    machine.at(THREE + 10 * MINUTE)
    assert machine.up == ["20260101T0310Z"]


def test_an_instance_that_is_ordered_gone_takes_its_run_with_it_and_says_so() -> None:
    machine = Machine(job(requests=("jr-1",)))
    machine.look()
    machine.document = document(tombstones=(tombstone_of(key_of()),))
    machine.look()
    run = machine.runs["jr-1"]
    assert machine.containers == {} and run.state is JobRunState.FAILED
    assert run.reason == "its instance was taken away"
    # It is told until it is known, and then forgotten.
    assert [each.run_id for each in untold(machine.facts.jobs.values(), known=0)] == ["jr-1"]


def test_what_never_began_is_left_to_whoever_comes_next() -> None:
    machine = Machine(job(requests=("jr-1",)))
    machine.facts = advance(machine.document, (), machine.facts, START, 0.0)
    assert machine.runs["jr-1"].state is JobRunState.PENDING
    machine.document = document(tombstones=(tombstone_of(key_of()),))
    machine.look()
    assert machine.runs == {} and machine.made == []


def test_a_container_that_vanished_is_not_run_again() -> None:
    machine = Machine(job(requests=("jr-1",)))
    machine.look()
    machine.containers.clear()
    machine.look()
    assert machine.runs["jr-1"].reason == "its container vanished" and machine.made == ["jr-1"]


def test_absence_from_a_document_is_no_order() -> None:
    machine = Machine(job(requests=("jr-1",)))
    machine.look()
    machine.document = document()
    machine.look()
    assert machine.up == ["jr-1"] and machine.runs["jr-1"].state is JobRunState.RUNNING


def test_what_is_remembered_is_bounded() -> None:
    runs = [
        JobRun(
            run_id=f"r{n}", key=key_of(), instance_id="in-1", trigger=RunTrigger.MANUAL,
            scheduled_at=START, state=JobRunState.SUCCEEDED, serial=n,
        )
        for n in range(1, 1001)
    ]  # fmt: skip
    assert [run.serial for run in bounded(runs, known=0)] == list(range(1001 - KEPT_UNTOLD, 1001))
    assert [run.serial for run in bounded(runs, known=1000)] == list(range(1001 - KEPT_KNOWN, 1001))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 900), st.booleans(), st.booleans()), max_size=40),
    st.sampled_from(Overlap),
)
def test_no_run_is_made_twice_and_every_time_is_accounted_for(
    moves: list[tuple[int, bool, bool]], overlap: Overlap
) -> None:
    """`Machine` fails where a run is made a second time; here the agent also forgets what it decided just before acting."""
    machine = Machine(job(schedule=every("*/5 * * * *", overlap=overlap)))
    for pause_s, ends, forgets in moves:
        machine.now += timedelta(seconds=pause_s)
        if ends and machine.up:
            machine.end(machine.up[0], 0)
        if forgets:  # killed between the decision and the journal
            advance(machine.document, machine.containers.values(), machine.facts, machine.now, 0.0)
        machine.look()
        assert len(machine.up) <= (MOST_AT_ONCE if overlap is Overlap.ALLOW else 1)
    record = machine.facts.jobs.get(key_text(key_of()))
    newest = cron.newest_between("*/5 * * * *", "UTC", START, machine.now)
    if newest is not None and record is not None:
        assert record.knows(newest.strftime("%Y%m%dT%H%MZ"))


# ------------------------------------------------------------------------------------------------ the whole agent


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def runtime(clock: ManualClock) -> FakeRuntime:
    return FakeRuntime(clock=clock, images=(IMAGE,))


@pytest.fixture
def node(runtime: FakeRuntime, clock: ManualClock, tmp_path: Path) -> Node:
    return Node(runtime, tmp_path, config={"clock": clock})


def name(run_id: str) -> str:
    return f"{key_of().container_name('c1')}-{run_id}"


def told(node: Node) -> dict[str, JobRun]:
    return {run.run_id: run for run in node.report.runs} if node.report else {}


async def move(clock: ManualClock, agent: NodeAgent, to: datetime) -> None:
    clock.advance((to - clock.now()).total_seconds())
    agent.executor.wake()


async def test_a_schedule_is_accepted_at_once_and_rests(node: Node) -> None:
    async with node.run():
        await node.want(job(schedule=every("0 3 * * *")))
        seen = await node.until(key_of(), lambda c: c.ended)
    assert seen.phase is Phase.STOPPED and seen.exit_code is None


async def test_it_fires_while_nobody_can_be_heard_and_tells_later(
    node: Node, runtime: FakeRuntime, clock: ManualClock
) -> None:
    async with node.run() as agent:
        await node.want(job(schedule=every("0 3 * * *")))
        await node.until(key_of(), lambda c: c.ended)
        node.bus.disconnect()
        await move(clock, agent, THREE)
        await eventually(lambda: any(c.is_up for c in agent.world.containers))
        runtime.end(name(DAILY), exit_code=0)
        await eventually(lambda: agent.journal.facts.jobs[key_text(key_of())].ended)
        assert told(node) == {}
        await node.bus.reconnect()
        run = await eventually(lambda: told(node).get(DAILY))
    assert (run.state, run.exit_code, run.scheduled_at) == (JobRunState.SUCCEEDED, 0, THREE)


async def test_what_is_known_is_not_told_again(node: Node, runtime: FakeRuntime) -> None:
    async with node.run():
        await node.want(job(requests=("jr-1",)))
        await node.until(key_of(), lambda c: c.phase is Phase.RUNNING)
        runtime.end(name("jr-1"), exit_code=7)
        run = await eventually(lambda: (r := told(node).get("jr-1")) and r.state.ended and r)
        await node.want(job(), runs_known=run.serial)
        await eventually(lambda: node.report and node.report.generation == 2 and not node.report.runs)


async def test_a_one_off_that_fails_says_so(node: Node, runtime: FakeRuntime) -> None:
    async with node.run():
        await node.want(job(requests=("jr-1",), trigger=RunTrigger.DEPLOY))
        await node.until(key_of(), lambda c: c.phase is Phase.RUNNING)
        runtime.end(name("jr-1"), exit_code=7)
        seen = await node.until(key_of(), lambda c: c.ended)
    assert (seen.phase, seen.reason, seen.exit_code) == (Phase.FAILED, "exited with 7", 7)


async def test_an_agent_that_was_killed_makes_no_run_twice(
    node: Node, runtime: FakeRuntime, clock: ManualClock
) -> None:
    """It goes down while a run is under way, and comes back from a journal that is older than the container."""
    async with node.run() as agent:
        await node.want(job(schedule=every("0 3 * * *")))
        await node.until(key_of(), lambda c: c.ended)
        before = agent.journal.facts
        await move(clock, agent, THREE)
        await node.until(key_of(), lambda c: c.phase is Phase.RUNNING)
    (node.folder / "data" / "facts.json").write_text(before.model_dump_json())
    async with node.run() as agent:
        await eventually(lambda: agent.journal.facts.jobs[key_text(key_of())].under_way)
        await eventually(lambda: (r := told(node).get(DAILY)) and r.state is JobRunState.RUNNING)
        runtime.end(name(DAILY), exit_code=0)
        await eventually(lambda: told(node)[DAILY].state is JobRunState.SUCCEEDED)
    assert [call for call in runtime.calls if call[0] == "create"] == [("create", name(DAILY))]


async def test_an_image_that_cannot_be_had_fails_the_run(tmp_path: Path, clock: ManualClock) -> None:
    node = Node(FakeRuntime(clock=clock), tmp_path, config={"clock": clock})
    async with node.run():
        await node.want(job(requests=("jr-1",), trigger=RunTrigger.DEPLOY))
        run = await eventually(lambda: (r := told(node).get("jr-1")) and r.state.ended and r)
        assert run.state is JobRunState.FAILED and run.reason.startswith("it could not begin: ")
        await node.until(key_of(), lambda c: c.phase is Phase.FAILED)


async def test_the_order_to_be_gone_takes_every_container_of_a_job(node: Node, runtime: FakeRuntime) -> None:
    async with node.run():
        await node.want(job(requests=("jr-1",)))
        await node.until(key_of(), lambda c: c.phase is Phase.RUNNING)
        await node.want(tombstones=(tombstone_of(key_of()),))
        await node.until_gone(key_of())
        run = await eventually(lambda: (r := told(node).get("jr-1")) and r.state.ended and r)
    assert run.reason == "its instance was taken away" and await runtime.containers("c1") == ()


async def test_a_newer_epoch_takes_the_place_of_an_older_one(node: Node, runtime: FakeRuntime) -> None:
    async with node.run():
        await node.want(job(requests=("jr-1",)))
        await node.until(key_of(), lambda c: c.phase is Phase.RUNNING)
        await node.want(job(requests=("jr-2",), epoch=2))
        await node.until(key_of(2), lambda c: c.phase is Phase.RUNNING)
        assert told(node)["jr-1"].state is JobRunState.FAILED
    (left,) = await runtime.containers("c1")
    assert left.labels["lattice.run"] == "jr-2"
