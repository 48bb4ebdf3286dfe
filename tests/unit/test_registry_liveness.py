"""The judge of silence, on virtual time: whom it loses, how fast, and that its own deafness never counts."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice.contracts.nouns import Liveness
from services.registry.liveness import (
    Judgement,
    JudgeState,
    MassLoss,
    Thresholds,
    Tick,
    Transition,
    judge,
)

READY, SUSPECT, UNREACHABLE, JOINING = (
    Liveness.READY,
    Liveness.SUSPECT,
    Liveness.UNREACHABLE,
    Liveness.JOINING,
)
LIMITS = Thresholds()


@dataclass
class Court:
    """Ticks a judge over some nodes and applies what it decides, as the registry does."""

    nodes: dict[str, Liveness]
    state: JudgeState = field(default_factory=JudgeState)
    time_s: float = 0.0
    transitions: list[tuple[float, Transition]] = field(default_factory=list)
    mass_losses: list[MassLoss] = field(default_factory=list)

    def tick(self, *heard: str, dt_s: float = 1.0, connected: bool = True) -> Judgement:
        self.time_s += dt_s
        found = judge(
            self.state,
            Tick(nodes=self.nodes, heard=frozenset(heard), dt_s=dt_s, connected=connected),
        )
        self.state = found.state
        for transition in found.transitions:
            self.nodes[transition.node_id] = transition.after
            self.transitions.append((self.time_s, transition))
        if found.mass_loss is not None:
            self.mass_losses.append(found.mass_loss)
        return found

    def pass_s(self, seconds: float, *speaking: str) -> None:
        """Let time pass; who speaks is heard every 5 s."""
        end_s = self.time_s + seconds
        while self.time_s < end_s:
            self.tick(*(speaking if self.time_s % 5 == 0 else ()))

    def history(self, node_id: str) -> list[tuple[float, Liveness]]:
        return [(at, change.after) for at, change in self.transitions if change.node_id == node_id]


def court(*node_ids: str, liveness: Liveness = READY) -> Court:
    return Court(dict.fromkeys(node_ids, liveness))


def test_silence_makes_a_node_suspect_and_then_unreachable() -> None:
    it = court("a", "b", "c")
    it.pass_s(20, "b", "c")
    assert it.history("a") == [(7, SUSPECT), (13, UNREACHABLE)]
    assert it.history("b") == it.history("c") == []


def test_a_suspect_that_speaks_is_ready_again() -> None:
    it = court("a")
    it.pass_s(8)
    it.tick("a")
    assert it.history("a") == [(7, SUSPECT), (9, READY)]


def test_a_lost_node_that_speaks_must_first_report_what_it_has() -> None:
    it = court("a")
    it.pass_s(13)
    it.tick("a")
    assert it.nodes["a"] is JOINING
    it.pass_s(6, "a")
    assert it.nodes["a"] is JOINING  # only an observed document makes it ready


def test_a_joining_node_that_falls_silent_is_lost() -> None:
    it = court("a", liveness=JOINING)
    it.pass_s(14)
    assert it.history("a") == [(13, UNREACHABLE)]


@pytest.mark.parametrize("phase_s", range(5))
def test_a_loss_is_seen_within_15_s_whenever_it_happens(phase_s: int) -> None:
    it = court("a", "b", "c")
    it.pass_s(60 + phase_s, "a", "b", "c")
    died_s = it.time_s
    it.pass_s(30, "b", "c")
    (_, lost_s) = (it.history("a")[0][0], it.history("a")[1][0])
    assert 8 <= lost_s - died_s <= 15


def test_a_pause_of_the_judge_starts_the_count_again() -> None:
    it = court("a")
    it.pass_s(12)
    it.tick(dt_s=3.5)
    it.pass_s(12)
    assert it.nodes["a"] is SUSPECT
    it.pass_s(1)
    assert it.nodes["a"] is UNREACHABLE


def test_silence_while_the_link_is_down_does_not_count() -> None:
    it = court("a", "b")
    for _ in range(600):
        it.tick(connected=False)
    assert it.nodes == {"a": READY, "b": READY}
    it.pass_s(5, "a", "b")
    assert it.transitions == []


def test_half_of_the_nodes_at_once_is_a_mass_loss() -> None:
    it = court("a", "b", "c", "d")
    it.pass_s(200, "a", "b", "c", "d")
    it.pass_s(30, "c", "d")
    assert it.mass_losses == [MassLoss(("a", "b"), 4)]


def test_one_node_alone_is_never_a_mass_loss() -> None:
    it = court("a")
    it.pass_s(300)
    assert it.nodes["a"] is UNREACHABLE
    assert it.mass_losses == []


def test_losses_far_apart_are_no_mass_loss() -> None:
    it = court("a", "b", "c", "d")
    it.pass_s(200, "a", "b", "c", "d")
    it.pass_s(80, "b", "c", "d")
    it.pass_s(80, "c", "d")
    assert it.nodes["a"] is it.nodes["b"] is UNREACHABLE
    assert it.mass_losses == []


def test_losses_soon_after_our_own_restart_are_one_even_if_far_apart() -> None:
    it = court("a", "b", "c", "d")
    it.pass_s(80, "b", "c", "d")
    it.pass_s(30, "c", "d")
    assert it.mass_losses == [MassLoss(("a", "b"), 4)]


def test_losses_soon_after_our_own_deafness_are_one_too() -> None:
    it = court("a", "b", "c", "d")
    it.pass_s(400, "a", "b", "c", "d")
    it.tick(dt_s=60)
    it.pass_s(80, "b", "c", "d")
    it.pass_s(30, "c", "d")
    assert it.mass_losses == [MassLoss(("a", "b"), 4)]


def test_nodes_that_were_away_before_do_not_count() -> None:
    it = Court({**dict.fromkeys("abcd", READY), **dict.fromkeys("wxyz", UNREACHABLE)})
    it.pass_s(200, *"abcd")
    it.pass_s(30, *"bcd")
    assert it.mass_losses == []
    it.pass_s(30, "d")
    assert it.mass_losses == [MassLoss(("a", "b", "c"), 4)]


def test_a_mass_loss_is_said_again_only_when_it_grows() -> None:
    it = court(*"abcdef")
    it.pass_s(200, *"abcdef")
    it.pass_s(30, *"ef")
    assert [set(loss.lost) for loss in it.mass_losses] == [set("abcd")]
    it.pass_s(20, "e")
    assert [set(loss.lost) for loss in it.mass_losses] == [set("abcd"), set("abcdf")]


def test_a_judgement_that_could_not_be_applied_is_repeated_unchanged() -> None:
    nodes = {"a": READY, "b": READY, "c": READY}
    state, said = JudgeState(), []
    for _ in range(30):
        found = judge(state, Tick(nodes=nodes, heard=frozenset({"b", "c"}), dt_s=1, connected=True), LIMITS)
        state = found.state
        said.append(tuple(change.after for change in found.transitions))
    assert said[:6] == [()] * 6
    assert set(said[6:12]) == {(SUSPECT,)}
    assert set(said[12:]) == {(UNREACHABLE,)}
    assert state.lost_at_s == {"a": 13}


def test_a_node_that_left_is_forgotten() -> None:
    it = court("a", "b")
    it.pass_s(20, "b")
    del it.nodes["a"]
    it.tick("b")
    assert "a" not in it.state.silence_s
    assert "a" not in it.state.lost_at_s


# --- for every course of events ----------------------------------------------------------------------------

NODES = ("a", "b", "c")
DT_S = st.sampled_from([0.5, 1.0, 1.5, 3.0, 3.1, 10.0, 3600.0])
STEPS = st.lists(st.tuples(st.sets(st.sampled_from(NODES)), DT_S, st.booleans()), max_size=80)


@given(steps=STEPS)
def test_only_silence_that_could_be_heard_loses_a_node(steps: list[tuple[set[str], float, bool]]) -> None:
    it, audible_s = court(*NODES), dict.fromkeys(NODES, 0.0)
    for heard, dt_s, connected in steps:
        counts = connected and dt_s <= LIMITS.gap_s
        for node_id in NODES:
            silent = counts and node_id not in heard
            audible_s[node_id] = audible_s[node_id] + dt_s if silent else 0.0
        for change in it.tick(*heard, dt_s=dt_s, connected=connected).transitions:
            if change.after is UNREACHABLE:
                assert audible_s[change.node_id] >= LIMITS.unreachable_after_s
            elif change.after is SUSPECT:
                assert audible_s[change.node_id] >= LIMITS.suspect_after_s
            else:
                assert change.node_id in heard


@given(steps=STEPS, silent_s=st.integers(14, 60))
def test_whatever_happened_before_a_silent_node_is_lost_in_time(
    steps: list[tuple[set[str], float, bool]], silent_s: int
) -> None:
    it = court(*NODES)
    for heard, dt_s, connected in steps:
        it.tick(*heard, dt_s=dt_s, connected=connected)
    for _ in range(silent_s):
        it.tick("b")
    assert it.nodes["a"] is UNREACHABLE
    assert it.nodes["b"] in (READY, JOINING)


@given(steps=STEPS)
def test_a_mass_loss_names_only_lost_nodes_and_at_least_half(
    steps: list[tuple[set[str], float, bool]],
) -> None:
    it = court(*NODES)
    for heard, dt_s, connected in steps:
        loss = it.tick(*heard, dt_s=dt_s, connected=connected).mass_loss
        if loss is not None:
            assert all(it.nodes[node_id] is UNREACHABLE for node_id in loss.lost)
            assert len(loss.lost) >= max(2, loss.of / 2)
