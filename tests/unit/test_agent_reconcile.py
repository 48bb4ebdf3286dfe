"""What the agent decides: examples that read as the rules, and properties that no example thinks of."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.dead_runs import Verdict, note_dead, run_id
from agent.exits import failing_since, note_exits, note_failure, note_started
from agent.facts import PORTS_REMEMBERED, Facts, Failure, InstanceRecord, accepts, key_text, learn
from agent.last_exits import VANISHED, exit_reason, exit_words, note_vanished, with_last_words
from agent.naming import container_labels, key_from, slot_of
from agent.outages import forgive, outage
from agent.reconcile import Plan, Step, Verb, diff
from lattice.contracts.messages import DesiredDocument, DesiredInstance, RunSpec, Tombstone
from lattice.contracts.nouns import ContainerKey, DesiredState
from lattice.contracts.spec import BackoffSpec, RestartMode
from lattice.runtime import Container, RunState

NOW = datetime(2030, 1, 1, tzinfo=UTC)
CLUSTER = "c1"


def key(epoch: int = 1, *, slot: int = 0, workload: str = "wl-1") -> ContainerKey:
    return ContainerKey(workload_id=workload, slot=slot, epoch=epoch)


def instance(
    of: ContainerKey,
    *,
    desired: DesiredState = DesiredState.RUNNING,
    restart: RestartMode = RestartMode.ALWAYS,
) -> DesiredInstance:
    run = RunSpec(
        image="a:1", cpu_millis=100, memory_bytes=2**26, pids=10, restart=restart, backoff=BackoffSpec()
    )
    return DesiredInstance(
        key=of,
        instance_id=f"in-{of.workload_id}-{of.slot}-{of.epoch}",
        workload_name="web",
        project="default",
        revision=1,
        desired=desired,
        run=run,
    )


def tombstone(of: ContainerKey) -> Tombstone:
    return Tombstone(key=of, instance_id="in-x", project="default")


def document(
    *instances: DesiredInstance, tombstones: tuple[Tombstone, ...] = (), generation: int = 1
) -> DesiredDocument:
    return DesiredDocument(
        cluster_id=CLUSTER,
        node_id="nd-1",
        era=1,
        generation=generation,
        instances=instances,
        tombstones=tombstones,
    )


def container(of: ContainerKey, state: RunState = RunState.RUNNING, **changes: object) -> Container:
    shown = Container(
        id=of.container_name(CLUSTER)[-20:],
        name=of.container_name(CLUSTER),
        image_id="sha256:1",
        labels=container_labels(CLUSTER, instance(of)),
        state=state,
        started_at=NOW - timedelta(seconds=100),
        finished_at=NOW if state is RunState.EXITED else None,
        exit_code=1 if state is RunState.EXITED else None,
    )
    return replace(shown, **changes)  # type: ignore[arg-type]


def known(*documents: DesiredDocument) -> Facts:
    facts = Facts()
    for each in documents:
        facts = learn(facts, each)
    return facts


def verbs(plan: Plan) -> list[tuple[Verb, int]]:
    return [(step.verb, step.key.epoch) for slot in plan.slots.values() for step in slot.steps]


# ------------------------------------------------------------------------------------------------ the rules by example


def test_a_new_instance_is_pulled_made_and_started() -> None:
    wanted = document(instance(key()))
    assert verbs(diff(wanted, [], known(wanted), NOW)) == [
        (Verb.PULL, 1), (Verb.CREATE, 1), (Verb.START, 1),
    ]  # fmt: skip


def test_the_older_epoch_goes_after_the_image_is_there_and_before_the_newer_is_made() -> None:
    wanted = document(instance(key(2)))
    assert verbs(diff(wanted, [container(key(1))], known(wanted), NOW)) == [
        (Verb.PULL, 2), (Verb.STOP, 1), (Verb.REMOVE, 1), (Verb.CREATE, 2), (Verb.START, 2),
    ]  # fmt: skip


def test_an_older_epoch_than_ever_ordered_is_refused_and_nothing_is_touched() -> None:
    before, late = document(instance(key(5))), document(instance(key(3)), generation=2)
    plan = diff(late, [container(key(5)), container(key(3), RunState.CREATED)], known(before, late), NOW)
    assert plan.idle
    refusal = plan.slots[slot_of(key(3))].refusal
    assert refusal is not None and "older than 5" in refusal.reason
    assert {c.name for c in plan.quarantined} == {
        key(5).container_name(CLUSTER), key(3).container_name(CLUSTER),
    }  # fmt: skip


def test_absence_is_no_order() -> None:
    before, after = document(instance(key(1))), document(generation=2)
    plan = diff(after, [container(key(1))], known(before, after), NOW)
    assert plan.idle
    assert [c.name for c in plan.quarantined] == [key(1).container_name(CLUSTER)]


def test_no_document_at_all_touches_nothing() -> None:
    assert diff(None, [container(key(1))], Facts(), NOW).idle


def test_a_tombstone_stops_and_removes() -> None:
    wanted = document(tombstones=(tombstone(key(2)),))
    plan = diff(
        wanted, [container(key(1), RunState.EXITED), container(key(2)), container(key(3))], known(wanted), NOW
    )
    assert verbs(plan) == [(Verb.REMOVE, 1), (Verb.STOP, 2), (Verb.REMOVE, 2)]
    assert [c.name for c in plan.quarantined] == [key(3).container_name(CLUSTER)]


def test_a_tombstone_wins_over_an_instance_of_the_same_epoch() -> None:
    wanted = document(instance(key(2)), tombstones=(tombstone(key(2)),))
    plan = diff(wanted, [container(key(2))], known(wanted), NOW)
    assert verbs(plan) == [(Verb.STOP, 2), (Verb.REMOVE, 2)]
    assert plan.slots[slot_of(key(2))].refusal is not None


def test_wanted_stopped_stops_and_keeps_and_the_same_container_starts_again() -> None:
    stopped = document(instance(key(), desired=DesiredState.STOPPED))
    assert verbs(diff(stopped, [container(key())], known(stopped), NOW)) == [(Verb.STOP, 1)]
    assert diff(stopped, [container(key(), RunState.EXITED)], known(stopped), NOW).idle
    assert diff(stopped, [], known(stopped), NOW).idle
    again = document(instance(key(), restart=RestartMode.NEVER), generation=2)
    plan = diff(again, [container(key(), RunState.EXITED)], known(stopped, again), NOW)
    assert verbs(plan) == [(Verb.START, 1)]
    assert not plan.slots[slot_of(key())].steps[0].restart


def test_a_crash_waits_longer_each_time_and_a_stable_run_starts_at_once() -> None:
    wanted = document(instance(key()))
    facts, at, pauses = known(wanted), NOW, []
    for _ in range(5):
        ended = container(key(), RunState.EXITED, started_at=at - timedelta(seconds=0.2), finished_at=at)
        facts, news = note_exits(wanted, [ended], facts, at, 0.0)
        assert len(news) == 1
        assert note_exits(wanted, [ended], facts, at, 0.9) == (facts, ())
        pauses.append(facts.record(key()).delay_s)
        plan = diff(wanted, [ended], facts, at)
        assert plan.idle and plan.wake_at == at + timedelta(seconds=pauses[-1])
        at = plan.wake_at
        assert verbs(diff(wanted, [ended], facts, at)) == [(Verb.START, 1)]
    assert pauses == [1, 2, 4, 8, 16]
    stable = container(key(), RunState.EXITED, started_at=at - timedelta(seconds=60), finished_at=at)
    facts, _ = note_exits(wanted, [stable], facts, at, 0.0)
    assert verbs(diff(wanted, [stable], facts, at)) == [(Verb.START, 1)]


def test_a_clock_that_jumps_back_does_not_lengthen_a_pause() -> None:
    wanted = document(instance(key()))
    ended = container(key(), RunState.EXITED, started_at=NOW, finished_at=NOW)
    facts, _ = note_exits(wanted, [ended], known(wanted), NOW, 0.0)
    assert not diff(wanted, [ended], facts, NOW - timedelta(hours=1)).idle


def test_restart_policies() -> None:
    def starts(mode: RestartMode, exit_code: int) -> bool:
        wanted = document(instance(key(), restart=mode))
        ended = container(key(), RunState.EXITED, exit_code=exit_code)
        facts, _ = note_exits(wanted, [ended], known(wanted), NOW, 0.0)
        return verbs(diff(wanted, [ended], facts, NOW + timedelta(hours=1))) == [(Verb.START, 1)]

    assert [starts(mode, 0) for mode in RestartMode] == [True, False, False]
    assert [starts(mode, 3) for mode in RestartMode] == [True, True, False]


def given_up(wanted: DesiredDocument, there: Container, *, worked_s: float = 0.0) -> Facts:
    """What is remembered after its liveness check gave a run up."""
    assert there.started_at is not None
    verdict = Verdict("liveness check failed: refused", there.started_at + timedelta(seconds=worked_s))
    facts, fresh = note_dead(wanted, [there], known(wanted), {run_id(there): verdict}, NOW)
    assert [each.key for each in fresh] == [key()]
    assert note_dead(wanted, [there], facts, {run_id(there): verdict}, NOW)[1] == (), "it is noted once"
    return facts


@given(st.sampled_from([RestartMode.ALWAYS, RestartMode.ON_FAILURE]), st.sampled_from([0, 137, 143]))
def test_a_run_that_is_given_up_ends_counts_as_a_crash_and_starts_again(mode: RestartMode, code: int) -> None:
    wanted, there = document(instance(key(), restart=mode)), container(key())
    facts = given_up(wanted, there)
    assert verbs(diff(wanted, [there], facts, NOW)) == [(Verb.STOP, 1)]
    ended = replace(there, state=RunState.EXITED, exit_code=code, finished_at=NOW)
    assert diff(wanted, [ended], facts, NOW).idle, "the pause is not known before the exit is counted"
    facts, _ = note_exits(wanted, [ended], facts, NOW, 0.0)
    record = facts.record(key())
    assert (record.crashes, record.delay_s) == (1, 1.0), "a run that never worked is no stable one"
    assert exit_reason(ended, wanted.instances[0], record) == "liveness check failed: refused"
    assert diff(wanted, [ended], facts, NOW).idle
    assert verbs(diff(wanted, [ended], facts, NOW + timedelta(seconds=1))) == [(Verb.START, 1)]
    again = replace(there, started_at=NOW + timedelta(seconds=1))
    assert diff(wanted, [again], facts, NOW + timedelta(seconds=2)).idle, (
        "the verdict was about the other run"
    )


def test_a_run_that_worked_for_long_and_hangs_starts_again_at_once() -> None:
    wanted, there = document(instance(key())), container(key())
    facts = given_up(wanted, there, worked_s=60)
    ended = replace(there, state=RunState.EXITED, exit_code=143, finished_at=NOW)
    facts, _ = note_exits(wanted, [ended], facts, NOW, 0.0)
    assert verbs(diff(wanted, [ended], facts, NOW)) == [(Verb.START, 1)]


def test_what_is_given_up_while_the_engine_goes_away_is_forgiven() -> None:
    wanted, there = document(instance(key())), container(key())
    facts = forgive(given_up(wanted, there), AWAY)
    assert diff(wanted, [there], facts, AWAY.until).idle


@given(st.sampled_from([RunState.CREATED, RunState.EXITED, RunState.DEAD]))
def test_only_what_runs_is_given_up(state: RunState) -> None:
    wanted, there = document(instance(key())), container(key(), state)
    assert note_dead(wanted, [there], known(wanted), {run_id(there): Verdict("x")}, NOW)[1] == ()
    stopped = document(instance(key(), desired=DesiredState.STOPPED))
    assert note_dead(stopped, [container(key())], known(stopped), {run_id(there): Verdict("x")}, NOW)[1] == ()


@given(st.integers(0, 255))
def test_a_signal_is_named_where_one_ended_it(code: int) -> None:
    known_ones = {
        137: "SIGKILL",
        139: "SIGSEGV",
        143: "SIGTERM",
        134: "SIGABRT",
        1: "",
        0: "",
        128: "",
        255: "",
    }
    said = exit_words(code)
    assert said.startswith(f"exited with {code}")
    if code in known_ones:
        assert said == f"exited with {code}" + (f" ({known_ones[code]})" if known_ones[code] else "")
    assert code > 128 or "(" not in said


def test_how_it_ended_is_remembered_while_it_runs_again_and_when_it_vanishes() -> None:
    wanted, ended = document(instance(key())), container(key(), RunState.EXITED, exit_code=139)
    facts, _ = note_exits(wanted, [ended], known(wanted), NOW, 0.0)
    facts = with_last_words(facts, {ended.id: ("one", "two")}, up=())
    again = note_started(facts.record(key()), restart=True, container_id=ended.id)
    facts = with_last_words(facts.with_record(again), {ended.id: ("of the next run",)}, up={ended.id})
    last = facts.record(key()).last_exit
    assert last is not None and (last.reason, last.signal) == ("exited with 139 (SIGSEGV)", "SIGSEGV")
    assert last.log == ("one", "two"), "what the next run prints belongs to its own end"
    assert note_vanished(wanted, [container(key())], facts, NOW) == (facts, ())
    facts, gone = note_vanished(wanted, [], facts, NOW)
    assert [each.key for each in gone] == [key()]
    assert note_vanished(wanted, [], facts, NOW)[1] == (), "it is noted once"
    last = with_last_words(facts, {ended.id: ("at the end",)}, up=()).record(key()).last_exit
    assert last is not None and (last.reason, last.exit_code, last.log) == (VANISHED, None, ("at the end",))


def test_a_crash_is_still_told_when_its_container_vanishes_afterwards() -> None:
    wanted, ended = document(instance(key())), container(key(), RunState.EXITED, exit_code=3)
    started = known(wanted).with_record(
        note_started(known(wanted).record(key()), restart=False, container_id="x")
    )
    facts, _ = note_exits(wanted, [ended], started, NOW, 0.0)
    assert note_vanished(wanted, [], facts, NOW) == (facts, ())


def test_failing_begins_with_the_first_crash_and_ends_with_a_stable_run() -> None:
    wanted = document(instance(key()))
    facts, at = known(wanted), NOW
    for number in range(4):
        at = NOW + timedelta(minutes=number)
        facts, _ = note_exits(wanted, [exited(at)], facts, at, 0.0)
        assert failing_since(facts.record(key()), exited(at), at) == NOW
    record = note_started(facts.record(key()), restart=True)
    up = container(key(), started_at=at)
    assert failing_since(record, up, at + timedelta(seconds=9)) == NOW, "it may end again at once"
    assert failing_since(record, up, at + timedelta(seconds=60)) is None
    later = at + timedelta(hours=1)
    facts, _ = note_exits(wanted, [exited(later, ran_s=3000)], facts.with_record(record), later, 0.0)
    assert facts.record(key()).failing_since == later, "what was before a stable run is forgotten"
    failure = Failure(step="pull", reason="no space")
    unmade = note_failure(InstanceRecord(key=key()), instance(key()), failure, NOW, 0.0)
    assert unmade.failing_since == NOW and note_started(unmade, restart=False).failing_since is None


def test_a_vanished_container_is_made_again_and_counts_as_restart() -> None:
    wanted = document(instance(key()))
    facts = known(wanted).with_record(InstanceRecord(key=key(), was_made=True))
    create = [s for s in diff(wanted, [], facts, NOW).slots[slot_of(key())].steps if s.verb is Verb.CREATE]
    assert create[0].restart and "vanished" in create[0].reason


def test_a_container_with_unreadable_labels_is_quarantined() -> None:
    stranger = container(key(), labels={"lattice.cluster": CLUSTER})
    assert diff(document(), [stranger], Facts(), NOW).quarantined == (stranger,)


def test_a_port_is_kept_while_a_replacement_has_not_come_yet() -> None:
    facts = known(document(instance(key(1)))).with_ports(slot_of(key(1)), {"8080": 25_000})
    between = learn(facts, document(tombstones=(tombstone(key(1)),), generation=2))
    assert learn(between, document(instance(key(2)), generation=3)).ports == {"wl-1/0": {"8080": 25_000}}


def test_ports_of_slots_long_gone_are_forgotten() -> None:
    facts = known(document(instance(key(1))))
    for number in range(PORTS_REMEMBERED + 10):
        facts = facts.with_ports(slot_of(key(workload=f"wl-{number}")), {"80": 20_000 + number})
    assert len(learn(facts, document(generation=2)).ports) == PORTS_REMEMBERED


def test_only_a_newer_document_of_the_same_node_is_accepted() -> None:
    first = document(generation=2)
    assert accepts(None, first)
    assert not accepts(first, document(generation=2))
    assert not accepts(first, document(generation=1))
    assert accepts(first, document(generation=3))
    assert accepts(first, first.model_copy(update={"era": 2, "generation": 1}))
    assert not accepts(first, first.model_copy(update={"node_id": "nd-2", "generation": 9}))
    assert not accepts(first, first.model_copy(update={"cluster_id": "other", "generation": 9}))


# ------------------------------------------------------------------------------------------------ properties

_KEYS = st.builds(
    ContainerKey,
    workload_id=st.sampled_from(["wl-1", "wl-2"]),
    slot=st.integers(0, 1),
    epoch=st.integers(1, 4),
)
_STATES = st.sampled_from(
    [RunState.CREATED, RunState.RUNNING, RunState.PAUSED, RunState.EXITED, RunState.DEAD]
)


@st.composite
def documents(draw: st.DrawFn, generation: int = 1) -> DesiredDocument:
    wanted = draw(st.lists(_KEYS, max_size=4, unique_by=slot_of))
    return document(
        *(
            instance(
                each,
                desired=draw(st.sampled_from([DesiredState.RUNNING, DesiredState.STOPPED])),
                restart=draw(st.sampled_from(list(RestartMode))),
            )
            for each in wanted
        ),
        tombstones=tuple(tombstone(each) for each in draw(st.lists(_KEYS, max_size=3, unique=True))),
        generation=generation,
    )


@st.composite
def worlds(draw: st.DrawFn) -> tuple[DesiredDocument, list[Container], Facts]:
    earlier, wanted = draw(documents()), draw(documents(generation=2))
    keys = draw(st.lists(_KEYS, max_size=6, unique=True))
    facts = known(earlier, wanted) if draw(st.booleans()) else known(wanted)
    return wanted, [container(each, draw(_STATES)) for each in keys], facts


def apply(plan: Plan, containers: list[Container]) -> list[Container]:
    """Do every step, slot by slot, as the executor does; after each, no slot may have gained a second running container."""
    there = {each.name: each for each in containers}
    for slot in plan.slots.values():
        for step in slot.steps:
            before = running_per_slot(there.values())
            _take(step, there)
            after = running_per_slot(there.values())
            assert all(after[s] <= max(1, before.get(s, 0)) for s in after), (step, before, after)
    return list(there.values())


def _take(step: Step, there: dict[str, Container]) -> None:
    name = step.key.container_name(CLUSTER)
    match step.verb:
        case Verb.STOP:
            there[name] = replace(there[name], state=RunState.EXITED, exit_code=0, finished_at=NOW)
        case Verb.REMOVE:
            assert not there[name].is_up
            del there[name]
        case Verb.CREATE:
            assert name not in there
            there[name] = container(step.key, RunState.CREATED)
        case Verb.START:
            there[name] = replace(there[name], state=RunState.RUNNING)


def running_per_slot(containers: object) -> dict[tuple[str, int], int]:
    counts: dict[tuple[str, int], int] = {}
    for each in containers:  # type: ignore[attr-defined]
        of = key_from(each.labels)
        if of is not None and each.is_up:
            counts[slot_of(of)] = counts.get(slot_of(of), 0) + 1
    return counts


def prepared(wanted: DesiredDocument) -> frozenset[str]:
    return frozenset(key_text(each.key) for each in wanted.instances)


@settings(max_examples=300)
@given(worlds())
def test_once_applied_nothing_is_left_to_do(world: tuple[DesiredDocument, list[Container], Facts]) -> None:
    wanted, containers, facts = world
    plan = diff(wanted, containers, facts, NOW)
    assert diff(wanted, apply(plan, containers), facts, NOW, prepared=prepared(wanted)).idle


@settings(max_examples=300)
@given(worlds())
def test_what_is_quarantined_is_never_touched(
    world: tuple[DesiredDocument, list[Container], Facts],
) -> None:
    wanted, containers, facts = world
    plan = diff(wanted, containers, facts, NOW)
    touched = {step.key.container_name(CLUSTER) for slot in plan.slots.values() for step in slot.steps}
    assert not touched & {each.name for each in plan.quarantined}
    spoken_of = {slot_of(i.key) for i in wanted.instances} | {slot_of(t.key) for t in wanted.tombstones}
    assert {slot_of(s.key) for slot in plan.slots.values() for s in slot.steps} <= spoken_of


@settings(max_examples=300)
@given(worlds())
def test_no_epoch_below_the_highest_ordered_is_brought_up(
    world: tuple[DesiredDocument, list[Container], Facts],
) -> None:
    wanted, containers, facts = world
    for slot, plan in diff(wanted, containers, facts, NOW).slots.items():
        highest = facts.highest_epoch(slot)
        for step in plan.steps:
            if step.verb in (Verb.PULL, Verb.CREATE, Verb.START):
                assert highest is None or step.key.epoch >= highest


@given(worlds(), st.randoms())
def test_the_same_input_gives_the_same_answer_in_any_order(
    world: tuple[DesiredDocument, list[Container], Facts], random: object
) -> None:
    wanted, containers, facts = world
    shuffled = list(containers)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert diff(wanted, containers, facts, NOW) == diff(wanted, shuffled, facts, NOW)


@given(documents(generation=5), documents(generation=4))
def test_an_older_document_changes_nothing(newer: DesiredDocument, older: DesiredDocument) -> None:
    assert not accepts(newer, older)


# ------------------------------------------------------------------------------------------------ the Engine's own restarts


AWAY = outage(answered_at=NOW, back_at=NOW + timedelta(seconds=5))


def exited(at: datetime, *, ran_s: float = 2) -> Container:
    return container(key(), RunState.EXITED, started_at=at - timedelta(seconds=ran_s), finished_at=at)


def crashed(times: int, wanted: DesiredDocument, *, before: datetime) -> Facts:
    """What is remembered after so many crashes in a row, a minute apart."""
    facts = known(wanted)
    for number in range(times):
        at = before - timedelta(minutes=times - number)
        facts, _ = note_exits(wanted, [exited(at)], facts, at, 0.0)
    return facts


@given(st.integers(0, 6), st.integers(1, 10), st.booleans())
def test_however_often_the_engine_restarts_nothing_is_counted(
    before: int, restarts: int, seen_going: bool
) -> None:
    """`seen_going`: the exit was noted while the Engine still answered; the agent started the container, and it was stopped once more."""
    wanted = document(instance(key()))
    facts = first = crashed(before, wanted, before=NOW - timedelta(minutes=5))
    at = NOW
    for _ in range(restarts):
        if seen_going:
            facts, _ = note_exits(wanted, [exited(at)], facts, at, 0.0)
        away = outage(answered_at=at + timedelta(seconds=1), back_at=at + timedelta(seconds=5))
        facts = forgive(facts, away)
        gone = exited(at + timedelta(seconds=4))
        facts, fresh = note_exits(wanted, [gone], facts, at + timedelta(seconds=6), 0.0, outage=away)
        assert fresh == (gone,), "it is told all the same"
        assert verbs(diff(wanted, [gone], facts, at + timedelta(seconds=6))) == [(Verb.START, 1)]
        at += timedelta(seconds=8)
    record, earlier = facts.record(key()), first.record(key())
    assert record.crashes == earlier.crashes
    assert set(record.recent_exits) <= set(earlier.recent_exits)


def test_what_crashes_by_itself_still_waits_after_an_outage() -> None:
    wanted = document(instance(key()))
    facts = forgive(crashed(4, wanted, before=NOW - timedelta(minutes=5)), AWAY)
    assert facts.record(key()).crashes == 4
    later = AWAY.until + timedelta(seconds=3)
    facts, _ = note_exits(wanted, [exited(later)], facts, later, 0.0, outage=AWAY)
    assert (facts.record(key()).crashes, facts.record(key()).delay_s) == (5, 16.0)
    assert diff(wanted, [exited(later)], facts, later).idle


def test_a_step_that_the_outage_made_fail_is_due_at_once() -> None:
    wanted = document(instance(key()))
    facts = known(wanted)
    for number in range(4):
        at = NOW + timedelta(seconds=number - 60 if number < 3 else 2)
        failure = Failure(step="start", reason="the Docker Engine is away")
        facts = facts.with_record(note_failure(facts.record(key()), instance(key()), failure, at, 0.0))
    record = forgive(facts, AWAY).record(key())
    assert (record.failures, record.failure, record.not_before) == (3, None, None)
