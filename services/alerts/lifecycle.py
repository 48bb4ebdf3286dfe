"""How an alert lives: it opens, somebody looks after it, it is over.  Pure: what is so and what is known in, decisions out.

Two pauses keep it quiet.  It opens only once what is wrong has been so for a while, and it is over only once that has been well for a while;
the second pause doubles each time that the alert comes back soon, so what comes and goes is one long alert instead of many short ones.

A witness that is silent proves nothing: its alerts stay as they are, none opens and none ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from lattice.alerts import BY_NAME, AlertSpec, Witness
from lattice.contracts.messages import AlertState, Severity
from services.alerts.findings import Finding
from services.alerts.silences import Silence, silenced_until

# An alert that comes back within this time after its end counts as the same one that comes and goes.
FLAP_WINDOW = timedelta(minutes=30)
# A flapping alert is over after so much quiet at most.
_MOST_QUIET_S = 900.0
_MOST_DOUBLINGS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """An alert that is not over, or that somebody declared over while it still was so (`waits_for_end`)."""

    alert_id: str
    fingerprint: str
    name: str
    severity: Severity
    project: str
    entity_id: str
    entity_name: str
    state: AlertState
    detail: str = ""
    mark: str = ""
    occurrences: int = 1
    silenced_until: datetime | None = None
    waits_for_end: bool = False
    is_foreign: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Since when things are so, and since when they no longer are, by fingerprint; forgotten with a restart, which only makes us wait longer."""

    seen_since: Mapping[str, datetime] = field(default_factory=dict)
    gone_since: Mapping[str, datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Everything that is known in this moment.  `recent`: how often alerts that ended lately had come, by fingerprint."""

    now: datetime
    findings: Mapping[str, Finding]
    heard: frozenset[Witness]
    known: Sequence[Known] = ()
    silences: Sequence[Silence] = ()
    recent: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Open:
    """A new alert."""

    finding: Finding
    occurrences: int


@dataclass(frozen=True, slots=True)
class Retell:
    """More is known of it; `again`: it has happened another time, which is news also to who looks after it."""

    known: Known
    finding: Finding
    again: bool


@dataclass(frozen=True, slots=True)
class Resolve:
    """It is over by itself."""

    known: Known


@dataclass(frozen=True, slots=True)
class Forget:
    """What somebody declared over is over now: the next time it is a new alert."""

    known: Known


@dataclass(frozen=True, slots=True)
class Quieten:
    """From now until then nobody is told of it; None: from now on people are told again."""

    known: Known
    until: datetime | None


Decision = Open | Retell | Resolve | Forget | Quieten


@dataclass(frozen=True, slots=True)
class Judgement:
    """What follows, and what to remember for the next time."""

    decisions: tuple[Decision, ...]
    memory: Memory


def judge(memory: Memory, scene: Scene) -> Judgement:
    """What changes now."""
    memory = _remember(memory, scene)
    by_fingerprint = {known.fingerprint: known for known in scene.known}
    decisions: list[Decision] = []
    for print_, finding in scene.findings.items():
        if (known := by_fingerprint.get(print_)) is not None:
            decisions += _of_what_stays(known, finding)
        elif _is_ripe(finding, memory, scene.now):
            decisions.append(Open(finding, scene.recent.get(print_, 0) + 1))
    ended = [known for known in scene.known if _is_over(known, memory, scene)]
    decisions += [Forget(known) if known.waits_for_end else Resolve(known) for known in ended]
    decisions += _silenced([known for known in scene.known if known not in ended], scene)
    return Judgement(tuple(decisions), memory)


def _remember(memory: Memory, scene: Scene) -> Memory:
    """What is seen is not gone; what a silent witness said stays as it was."""
    seen = {print_: memory.seen_since.get(print_, scene.now) for print_ in scene.findings}
    gone = {
        known.fingerprint: memory.gone_since.get(known.fingerprint, scene.now)
        for known in scene.known
        if known.fingerprint not in scene.findings and _witness(known) in scene.heard
    }
    return Memory(seen_since=seen, gone_since=gone)


def _witness(known: Known) -> Witness:
    """Of an alert that this release no longer knows the service itself says that it is over; others' end with those who brought them."""
    if known.is_foreign:
        return Witness.ALERTMANAGER
    spec = BY_NAME.get(known.name)
    return spec.witness if spec is not None else Witness.ALERTS


def _is_ripe(finding: Finding, memory: Memory, now: datetime) -> bool:
    since = finding.since or memory.seen_since.get(finding.fingerprint, now)
    return now - since >= timedelta(seconds=finding.spec.opens_after_s)


def _of_what_stays(known: Known, finding: Finding) -> list[Decision]:
    again = finding.mark != known.mark
    if known.waits_for_end:
        return [Forget(known)] if again else []  # the next look opens it anew
    if again or finding.detail != known.detail:
        return [Retell(known, finding, again)]
    return []


def _is_over(known: Known, memory: Memory, scene: Scene) -> bool:
    since = memory.gone_since.get(known.fingerprint)
    return since is not None and scene.now - since >= quiet(BY_NAME.get(known.name), known.occurrences)


def quiet(spec: AlertSpec | None, occurrences: int) -> timedelta:
    """For how long it must have been well before it is over."""
    if spec is None:
        return timedelta()
    doublings = min(occurrences - 1, _MOST_DOUBLINGS)
    return timedelta(seconds=min(spec.resolves_after_s * 2.0**doublings, _MOST_QUIET_S))


def _silenced(known: Sequence[Known], scene: Scene) -> list[Decision]:
    untils = [(each, silenced_until(each, scene.silences, scene.now)) for each in known]
    return [Quieten(each, until) for each, until in untils if until != each.silenced_until]


def shown_state(state: AlertState, silenced_until: datetime | None) -> AlertState:
    """The one word for an alert: what is over is over, whoever wanted silence."""
    if silenced_until is None or state is AlertState.RESOLVED:
        return state
    return AlertState.SILENCED
