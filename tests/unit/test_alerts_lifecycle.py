"""How alerts open, are looked after and end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from lattice.alerts import ALERTS, DEAD_LETTER, NODE_UNREACHABLE, WORKLOAD_CRASH_LOOPING, AlertSpec, Witness
from lattice.contracts.messages import AlertState, Matchers
from services.alerts.findings import Finding
from services.alerts.lifecycle import (
    Decision,
    Forget,
    Known,
    Memory,
    Open,
    Quieten,
    Resolve,
    Retell,
    Scene,
    judge,
    quiet,
    shown_state,
)
from services.alerts.silences import Silence

NOW = datetime(2030, 1, 1, tzinfo=UTC)
BOTH = frozenset({Witness.ALERTS, Witness.REGISTRY})


def finding(spec: AlertSpec = NODE_UNREACHABLE, **more: object) -> Finding:
    values = {"project": "_platform", "entity_id": "nd-1", "entity_name": "hydra", "since": NOW}
    return Finding(spec=spec, **(values | more))  # type: ignore[arg-type]


@dataclass
class World:
    """Seconds pass and decisions are written, as the watch does it."""

    memory: Memory = field(default_factory=Memory)
    known: dict[str, Known] = field(default_factory=dict)
    ended: dict[str, tuple[float, int]] = field(default_factory=dict)
    silences: list[Silence] = field(default_factory=list)
    at_s: float = 0.0

    @property
    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.at_s)

    def look(
        self, found: Iterable[Finding] = (), *, after_s: float = 0.0, heard: frozenset[Witness] = BOTH
    ) -> list[Decision]:
        self.at_s += after_s
        scene = Scene(
            now=self.now,
            findings={each.fingerprint: each for each in found},
            heard=heard,
            known=list(self.known.values()),
            silences=self.silences,
            recent={print_: count for print_, (at_s, count) in self.ended.items() if self.at_s - at_s < 1800},
        )
        judgement = judge(self.memory, scene)
        self.memory = judgement.memory
        for decision in judgement.decisions:
            self._write(decision)
        return list(judgement.decisions)

    def _write(self, decision: Decision) -> None:
        match decision:
            case Open(finding, occurrences):
                self.known[finding.fingerprint] = known(finding, occurrences=occurrences)
            case Resolve(known_):
                self.ended[known_.fingerprint] = (self.at_s, known_.occurrences)
                del self.known[known_.fingerprint]
            case Forget(known_):
                del self.known[known_.fingerprint]
            case Retell(known_, finding, _):
                self.known[known_.fingerprint] = known(finding, occurrences=known_.occurrences)
            case Quieten(known_, until):
                self.known[known_.fingerprint] = _changed(known_, silenced_until=until)


def _changed(known_: Known, **columns: object) -> Known:
    return replace(known_, **columns)  # type: ignore[arg-type]


def known(of: Finding, **more: object) -> Known:
    values: dict[str, object] = {
        "alert_id": "al-1",
        "fingerprint": of.fingerprint,
        "name": of.spec.name,
        "severity": of.spec.severity,
        "project": of.project,
        "entity_id": of.entity_id,
        "entity_name": of.entity_name,
        "state": AlertState.OPEN,
        "detail": of.detail,
        "mark": of.mark,
    }
    return Known(**(values | more))  # type: ignore[arg-type]


def kinds(decisions: Iterable[Decision]) -> list[str]:
    return [type(each).__name__ for each in decisions]


# --- opening -----------------------------------------------------------------------------------------------


def test_it_opens_once_and_is_over_after_a_while() -> None:
    world = World()
    assert kinds(world.look([finding()])) == ["Open"]
    assert world.look([finding()], after_s=5) == []
    assert world.look([], after_s=5) == [], "it may come back at once"
    assert kinds(world.look([], after_s=10)) == ["Resolve"]
    assert world.look([], after_s=5) == []


def test_it_opens_only_once_it_has_been_so_for_long_enough() -> None:
    world, crash = World(), finding(WORKLOAD_CRASH_LOOPING)
    assert world.look([crash], after_s=9) == []
    assert kinds(world.look([crash], after_s=1)) == ["Open"]


def test_where_nobody_says_since_when_it_counts_from_the_first_look() -> None:
    world, crash = World(), finding(WORKLOAD_CRASH_LOOPING, since=None)
    assert world.look([crash], after_s=100) == []
    assert world.look([crash], after_s=5) == []
    assert world.look([], after_s=1) == [], "what was not so in between counts anew"
    assert world.look([crash], after_s=5) == []
    assert kinds(world.look([crash], after_s=10)) == ["Open"]


# --- a silent witness ----------------------------------------------------------------------------------------


def test_a_silent_witness_ends_nothing() -> None:
    world = World()
    world.look([finding()])
    assert world.look([], after_s=3600, heard=frozenset({Witness.ALERTS})) == []
    assert world.look([], after_s=5) == [], "the quiet counts from when it speaks again"
    assert kinds(world.look([], after_s=10)) == ["Resolve"]


def test_an_alert_that_this_release_does_not_know_is_over() -> None:
    old = known(finding(), name="LatticeOfYesterday")
    scene = Scene(now=NOW, findings={}, heard=BOTH, known=[old])
    assert kinds(judge(Memory(), scene).decisions) == ["Resolve"]


# --- flapping ------------------------------------------------------------------------------------------------


def test_what_comes_and_goes_becomes_one_long_alert() -> None:
    world, changes = World(), 0
    for _ in range(60):  # an hour: half a minute there, half a minute away
        changes += len(world.look([finding()], after_s=30))
        changes += len(world.look([], after_s=15))
        changes += len(world.look([], after_s=15))
    assert changes <= 6, "not twice a minute"
    assert kinds(world.look([], after_s=900)) in (["Resolve"], [])


def test_the_quiet_before_the_end_doubles_and_is_bounded() -> None:
    waits = [quiet(NODE_UNREACHABLE, count).total_seconds() for count in (1, 2, 3, 50)]
    assert waits == [10, 20, 40, 900]


# --- people --------------------------------------------------------------------------------------------------


def test_what_somebody_declared_over_opens_again_only_after_it_was_well() -> None:
    world = World()
    declared = known(finding(), state=AlertState.RESOLVED, waits_for_end=True)
    world.known[declared.fingerprint] = declared
    assert world.look([finding()], after_s=3600) == []
    world.look([], after_s=5)
    assert kinds(world.look([], after_s=10)) == ["Forget"]
    assert kinds(world.look([finding()], after_s=5)) == ["Open"]


def test_or_when_it_happens_another_time() -> None:
    world, first, second = World(), finding(DEAD_LETTER, mark="fa-1"), finding(DEAD_LETTER, mark="fa-2")
    world.known[first.fingerprint] = known(first, state=AlertState.RESOLVED, waits_for_end=True)
    assert world.look([first], after_s=5) == []
    assert kinds(world.look([second], after_s=5)) == ["Forget"]
    assert kinds(world.look([second], after_s=5)) == ["Open"]


def test_another_time_is_news_also_to_who_looks_after_it() -> None:
    world, first, second = World(), finding(DEAD_LETTER, mark="fa-1"), finding(DEAD_LETTER, mark="fa-2")
    world.known[first.fingerprint] = known(first, state=AlertState.ACKNOWLEDGED)
    (news,) = world.look([second], after_s=5)
    assert isinstance(news, Retell) and news.again
    (more,) = world.look([finding(DEAD_LETTER, mark="fa-2", detail="two")], after_s=5)
    assert isinstance(more, Retell) and not more.again


# --- silences ------------------------------------------------------------------------------------------------


def silence(world: World, *, for_s: float, **matchers: object) -> Silence:
    end = world.now + timedelta(seconds=for_s)
    return Silence(matchers=Matchers(**matchers), starts_at=world.now, ends_at=end)


def test_a_silence_quietens_what_matches_and_ends() -> None:
    world = World()
    world.look([finding()])
    world.silences = [silence(world, for_s=60, entity="hydra"), silence(world, for_s=900, entity="other")]
    (quietened,) = world.look([finding()], after_s=1)
    assert isinstance(quietened, Quieten) and quietened.until == NOW + timedelta(seconds=60)
    assert world.look([finding()], after_s=1) == []
    (loud,) = world.look([finding()], after_s=60)
    assert isinstance(loud, Quieten) and loud.until is None


def test_a_silence_that_says_nothing_matches_nothing() -> None:
    world = World()
    world.look([finding()])
    world.silences = [silence(world, for_s=60)]
    assert world.look([finding()], after_s=1) == []


def test_all_that_a_silence_says_has_to_be_equal() -> None:
    world = World()
    world.look([finding()])
    world.silences = [silence(world, for_s=60, entity="nd-1", project="web")]
    assert world.look([finding()], after_s=1) == []
    world.silences = [
        silence(world, for_s=60, entity="nd-1", project="_platform", name=NODE_UNREACHABLE.name)
    ]
    assert kinds(world.look([finding()], after_s=1)) == ["Quieten"]


def test_the_one_word() -> None:
    assert shown_state(AlertState.ACKNOWLEDGED, None) is AlertState.ACKNOWLEDGED
    assert shown_state(AlertState.ACKNOWLEDGED, NOW) is AlertState.SILENCED
    assert shown_state(AlertState.RESOLVED, NOW) is AlertState.RESOLVED


# --- whatever happens ----------------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(st.booleans(), st.booleans(), st.floats(0.1, 120), st.sampled_from(["", "a", "b"])), max_size=60
)


@given(STEPS)
def test_it_is_never_open_twice_and_never_for_ever(steps: list[tuple[bool, bool, float, str]]) -> None:
    world, open_ = World(), 0
    for is_so, speaks, after_s, mark in steps:
        heard = BOTH if speaks else frozenset({Witness.ALERTS})
        found = [finding(mark=mark)] if is_so and speaks else []
        for decision in world.look(found, after_s=after_s, heard=heard):
            open_ += {"Open": 1, "Resolve": -1}.get(type(decision).__name__, 0)
            assert open_ in (0, 1)
    world.look([], after_s=1)
    world.look([], after_s=900)
    assert not world.known


def test_names_and_runbooks_are_unique_and_plain() -> None:
    assert len({spec.name for spec in ALERTS}) == len({spec.runbook for spec in ALERTS}) == len(ALERTS)
    assert NODE_UNREACHABLE.runbook == "node-unreachable"
    for spec in ALERTS:
        assert spec.name.startswith("Lattice") and spec.summary.endswith(".") and spec.meaning.endswith(".")
