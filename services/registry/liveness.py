"""Who is alive, judged from silence: pure.

A node is heard every 5 s.  Its silence counts only over time in which the judge itself ran and was connected: after a gap between two
ticks, or while the link was down, every count starts again at zero, because then it was we who did not listen.

Own fault first: when half of the nodes (and at least two) vanish within a minute, or within two minutes after we ourselves began to
listen again, the likelier cause is on our side.  The judgement says so (`MassLoss`), and whoever moves instances holds them.

The judge may be asked on every replica with the same result: `lost_at_s` is set once per loss, so repeating an unapplied judgement changes
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lattice.contracts.nouns import Liveness

Silence = Mapping[str, float]
Verdicts = Mapping[str, Liveness]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """How long is too long.  A loss is seen at most one heartbeat and one tick after `unreachable_after_s`."""

    suspect_after_s: float = 7.0
    unreachable_after_s: float = 13.0
    # Ticks come every second: a longer gap means that this process or its machine stood still.
    gap_s: float = 3.0
    mass_window_s: float = 60.0
    restart_grace_s: float = 120.0
    mass_part: float = 0.5
    mass_least: int = 2


DEFAULT_THRESHOLDS = Thresholds()


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeState:
    """What the judge remembers; all times are seconds of judged time, which stands still while it cannot hear."""

    judged_s: float = 0.0
    # Since when it has listened without a break.
    hears_since_s: float = 0.0
    silence_s: Silence = field(default_factory=dict)
    lost_at_s: Mapping[str, float] = field(default_factory=dict)
    # The lost nodes that a MassLoss has named.
    announced: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """What happened since the last tick: the nodes to judge as they stand, who was heard, how long it took, whether we could hear."""

    nodes: Mapping[str, Liveness]
    heard: frozenset[str]
    dt_s: float
    connected: bool


@dataclass(frozen=True, slots=True)
class Transition:
    """A node's liveness is now another."""

    node_id: str
    before: Liveness
    after: Liveness
    silence_s: float


@dataclass(frozen=True, slots=True)
class MassLoss:
    """So many nodes were lost together that our own fault is likelier: `lost` of `of` nodes."""

    lost: tuple[str, ...]
    of: int


@dataclass(frozen=True, slots=True)
class Judgement:
    """The new state, what changes, and whether a mass loss begins or grows with it."""

    state: JudgeState
    transitions: tuple[Transition, ...] = ()
    mass_loss: MassLoss | None = None


def judge(state: JudgeState, tick: Tick, thresholds: Thresholds = DEFAULT_THRESHOLDS) -> Judgement:
    """Judge every node of the tick."""
    listened = tick.connected and tick.dt_s <= thresholds.gap_s
    judged_s = state.judged_s + (tick.dt_s if listened else 0.0)
    silence = _silence(state.silence_s, tick, listened=listened)
    verdicts = {node_id: _verdict(node_id, tick, silence, thresholds) for node_id in sorted(tick.nodes)}
    lost_at_s = _lost_at_s(state, tick, verdicts, judged_s)
    after = JudgeState(
        judged_s=judged_s,
        hears_since_s=state.hears_since_s if listened else judged_s,
        silence_s=silence,
        lost_at_s=lost_at_s,
        announced=state.announced & frozenset(lost_at_s),
    )
    transitions = tuple(
        Transition(node_id, tick.nodes[node_id], verdict, silence[node_id])
        for node_id, verdict in verdicts.items()
        if verdict is not tick.nodes[node_id]
    )
    return _with_mass_loss(Judgement(after, transitions), verdicts, thresholds)


def has_heard_for(state: JudgeState, seconds: float) -> bool:
    """Whether we ourselves have listened without a break for so long."""
    return state.judged_s - state.hears_since_s >= seconds


def _silence(known: Silence, tick: Tick, *, listened: bool) -> dict[str, float]:
    if not listened:
        return dict.fromkeys(tick.nodes, 0.0)
    return {
        node_id: 0.0 if node_id in tick.heard else known.get(node_id, 0.0) + tick.dt_s
        for node_id in tick.nodes
    }


def _verdict(node_id: str, tick: Tick, silence: Silence, thresholds: Thresholds) -> Liveness:
    """A suspect that speaks again is ready; one that was lost must first report all that it has."""
    now = tick.nodes[node_id]
    if node_id in tick.heard:
        return {Liveness.SUSPECT: Liveness.READY, Liveness.UNREACHABLE: Liveness.JOINING}.get(now, now)
    if silence[node_id] >= thresholds.unreachable_after_s:
        return Liveness.UNREACHABLE
    if now is Liveness.READY and silence[node_id] >= thresholds.suspect_after_s:
        return Liveness.SUSPECT
    return now


def _lost_at_s(state: JudgeState, tick: Tick, verdicts: Verdicts, judged_s: float) -> dict[str, float]:
    """When each node was lost; one that was lost before this judge began is not among them."""
    return {
        node_id: state.lost_at_s.get(node_id, judged_s)
        for node_id, verdict in verdicts.items()
        if verdict is Liveness.UNREACHABLE
        and (node_id in state.lost_at_s or tick.nodes[node_id] is not Liveness.UNREACHABLE)
    }


def _with_mass_loss(judgement: Judgement, verdicts: Verdicts, thresholds: Thresholds) -> Judgement:
    state = judgement.state
    begins_s = _window_begins_s(state, thresholds)
    recent = frozenset(node_id for node_id, at_s in state.lost_at_s.items() if at_s >= begins_s)
    of = len(recent) + sum(verdict is not Liveness.UNREACHABLE for verdict in verdicts.values())
    many = len(recent) >= thresholds.mass_least and len(recent) >= thresholds.mass_part * of
    if not many or recent <= state.announced:
        return judgement
    announced = replace(state, announced=state.announced | recent)
    return replace(judgement, state=announced, mass_loss=MassLoss(tuple(sorted(recent)), of))


def _window_begins_s(state: JudgeState, thresholds: Thresholds) -> float:
    """The last minute; soon after a break of our own, everything since that break."""
    minute = state.judged_s - thresholds.mass_window_s
    young = state.judged_s - state.hears_since_s <= thresholds.restart_grace_s
    return min(minute, state.hears_since_s) if young else minute
