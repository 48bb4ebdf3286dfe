"""Converging to a goal: never less serving than allowed, never more instances than allowed, and it ends."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.registry.lifecycle import Goal, Moves, Replica, converge

OLD, NEW = 1, 2


@dataclass
class Fleet:
    """Instances that do what they are told; the test decides when they become ready or are gone."""

    replicas: list[Replica] = field(default_factory=list)
    made: int = 0

    def apply(self, goal: Goal) -> Moves:
        moves = converge(goal, self.replicas)
        self.replicas = [replace(r, leaving=r.leaving or r.id in moves.retire) for r in self.replicas]
        for slot in moves.create_slots:
            self.add(slot, goal.revision)
        return moves

    def add(self, slot: int, revision: int, *, ready: bool = False) -> None:
        self.made += 1
        self.replicas.append(Replica(id=f"in-{self.made}", slot=slot, revision=revision, ready=ready))

    def become_ready(self) -> None:
        self.replicas = [replace(r, ready=True) for r in self.replicas]

    def let_go(self) -> None:
        self.replicas = [r for r in self.replicas if not r.leaving]

    @property
    def serving(self) -> int:
        return sum(r.ready and not r.leaving for r in self.replicas)


def fleet(count: int, revision: int = OLD, *, ready: bool = True) -> Fleet:
    made = Fleet()
    for slot in range(count):
        made.add(slot, revision, ready=ready)
    return made


def test_start_first_begins_beside_the_old_one() -> None:
    world = fleet(1)
    moves = world.apply(Goal(replicas=1, revision=NEW))
    assert moves == Moves(create_slots=(1,))
    world.become_ready()
    assert world.apply(Goal(replicas=1, revision=NEW)).retire == ("in-1",)


def test_stop_first_makes_room_before_it_begins() -> None:
    world, goal = fleet(1), Goal(replicas=1, revision=NEW, surge=0, max_unavailable=1, exclusive=True)
    assert world.apply(goal) == Moves(retire=("in-1",))
    assert world.apply(goal) == Moves()
    world.let_go()
    assert world.apply(goal).create_slots == (0,)


def test_an_exclusive_workload_waits_for_a_node_that_is_away() -> None:
    gone = Replica(id="in-1", slot=0, revision=OLD, leaving=True, node_away=True)
    goal = Goal(replicas=1, revision=NEW, surge=0, max_unavailable=1)
    assert converge(goal, [gone]).create_slots == (1,)
    assert converge(replace(goal, exclusive=True), [gone]) == Moves()


def test_scaling_down_keeps_what_serves_and_the_lower_slots() -> None:
    world = fleet(4, NEW)
    world.replicas[0] = replace(world.replicas[0], ready=False)
    assert world.apply(Goal(replicas=2, revision=NEW)).retire == ("in-4", "in-1")


def test_scaling_to_nothing_is_a_goal_like_any_other() -> None:
    world, goal = fleet(2, NEW), Goal(replicas=0, revision=NEW)
    assert len(world.apply(goal).retire) == 2
    world.let_go()
    assert world.apply(goal).settled


@pytest.mark.parametrize("broken", range(3))
def test_an_old_one_that_does_not_serve_goes_first(broken: int) -> None:
    world = fleet(3)
    world.replicas[broken] = replace(world.replicas[broken], ready=False)
    world.add(3, NEW, ready=True)
    assert world.apply(Goal(replicas=3, revision=NEW)).retire == (f"in-{broken + 1}",)


goals = st.builds(
    Goal,
    replicas=st.integers(0, 5),
    revision=st.just(NEW),
    surge=st.integers(0, 2),
    max_unavailable=st.integers(0, 2),
).filter(lambda goal: goal.surge > 0 or goal.max_unavailable > 0)
events = st.lists(st.sampled_from(["ready", "gone", "look"]), max_size=30)


@given(goals, st.integers(0, 5), events)
def test_no_order_of_events_breaks_the_promises(goal: Goal, before: int, order: list[str]) -> None:
    world = fleet(before)
    serving = min(before, goal.replicas - goal.max_unavailable)
    for event in order:
        if event == "ready":
            world.become_ready()
        elif event == "gone":
            world.let_go()
        else:
            world.apply(goal)
        staying = [r for r in world.replicas if not r.leaving]
        assert world.serving >= serving
        assert len(staying) <= max(before, goal.replicas + goal.surge)
        assert len({r.slot for r in world.replicas}) == len(world.replicas), "one container for each slot"
        assert all(r.slot < before + goal.replicas + goal.surge + 1 for r in world.replicas)


@given(goals, st.integers(0, 5))
def test_it_ends(goal: Goal, before: int) -> None:
    world = fleet(before)
    for _ in range(4 * (before + goal.replicas) + 4):
        if world.apply(goal).settled:
            break
        world.become_ready()
        world.let_go()
    assert [r.revision for r in world.replicas] == [NEW] * goal.replicas
    assert converge(goal, world.replicas) == Moves(ready=goal.replicas, settled=True)


@given(goals, st.integers(0, 5))
def test_what_never_becomes_ready_takes_nothing_away(goal: Goal, before: int) -> None:
    world = fleet(before)
    for _ in range(20):
        world.apply(goal)
        world.let_go()
    assert world.serving >= min(before, goal.replicas - goal.max_unavailable)
