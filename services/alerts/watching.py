"""The watch: it asks the witnesses what is so, judges (`lifecycle`), and writes what changes.

It looks every few seconds, and at once when a fact says that something happened.  Every replica looks; the one that holds the lock in a round
writes.  A round that fails changes nothing: the next one sees the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime

from loguru import logger

from lattice.alerts import Witness
from lattice.contracts.catalogue import LIST_STRAINS, LIST_TROUBLES, Rpc
from lattice.contracts.messages import (
    AlertChange,
    AlertSource,
    AlertState,
    ListTroubles,
    Matchers,
    Severity,
    Trouble,
    Troubles,
)
from lattice.errors import LatticeError, StaleVersion, Temporary
from lattice.messaging import Bus
from services.alerts import metrics
from services.alerts import store as queries
from services.alerts.change import Change, Deps
from services.alerts.findings import Finding, of_silence, of_troubles
from services.alerts.lifecycle import (
    FLAP_WINDOW,
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
)
from services.alerts.silences import Silence, silenced_until
from services.alerts.tables import AlertRow, SilenceRow

LOCK = "alerts watch"
# Facts come in crowds: the first is waited after for so long.
SETTLE_S = 0.2


class Watch:
    """Looks for ever (`run`), or as a test says (`look`)."""

    def __init__(
        self, deps: Deps, bus: Bus, *, look_every_s: float, monotonic_s: Callable[[], float]
    ) -> None:
        self._deps, self._bus = deps, bus
        self._monotonic_s = monotonic_s
        self._looked_s: float | None = None
        self._look_every_s = look_every_s
        self._memory = Memory()
        self._silent_since: datetime | None = None
        self._woken = asyncio.Event()

    def is_watching(self) -> bool:
        """Whether it has looked lately and could write what it saw."""
        return (
            self._looked_s is not None and self._monotonic_s() - self._looked_s < 3 * self._look_every_s + 5
        )

    def wake(self) -> None:
        """Something happened that may matter."""
        self._woken.set()

    async def run(self) -> None:
        """Look again and again; a database that is away only delays what is written."""
        while True:
            try:
                await self.look()
            except (Temporary, StaleVersion) as error:
                logger.warning("the watch could not write: {}", error)
            await self._pause()

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._look_every_s):
                await self._woken.wait()
                await asyncio.sleep(SETTLE_S)
        self._woken.clear()

    async def look(self) -> None:
        """Look once."""
        findings, heard = await self._ask()
        async with self._deps.store.exclusive(LOCK) as writes:
            if writes:
                await self._judge({each.fingerprint: each for each in findings}, heard)
            else:
                metrics.left_to_another()
        self._looked_s = self._monotonic_s()

    async def _ask(self) -> tuple[list[Finding], frozenset[Witness]]:
        """What the witnesses say, and which of them spoke."""
        (known, why), (measured, _) = await asyncio.gather(
            _troubles(self._bus, LIST_TROUBLES), _troubles(self._bus, LIST_STRAINS)
        )
        self._silent_since = None if known is not None else self._silent_since or self._deps.now()
        said = [*of_troubles(known or ()), *of_troubles(measured or ())]
        heard = {Witness.REGISTRY: known is not None, Witness.METRICS: measured is not None}
        spoke = frozenset(witness for witness, has_spoken in heard.items() if has_spoken)
        return [*said, *of_silence(self._silent_since, why)], spoke | {Witness.ALERTS}

    async def _judge(self, findings: dict[str, Finding], heard: frozenset[Witness]) -> None:
        async with self._deps.change() as change:
            rows = {row.id: row for row in await queries.living(change.tx, lock=True)}
            silences = [silence_of(row) for row in await queries.silences(change.tx, change.now)]
            ended = await queries.ended_since(change.tx, change.now - FLAP_WINDOW)
            scene = Scene(
                now=change.now,
                findings=findings,
                heard=heard,
                known=[known_of(row) for row in rows.values()],
                silences=silences,
                recent={row.fingerprint: row.occurrences for row in ended if not row.resolved_by},
            )
            judgement = judge(self._memory, scene)
            for decision in judgement.decisions:
                _apply(change, decision, rows, silences)
        self._memory = judgement.memory
        metrics.looked(rows.values(), change.now)


async def _troubles(bus: Bus, rpc: Rpc[ListTroubles, Troubles]) -> tuple[Sequence[Trouble] | None, str]:
    """What one of them says; None, and why, where it does not answer."""
    try:
        return (await bus.ask(rpc, ListTroubles())).items, ""
    except LatticeError as error:
        return None, error.detail


def known_of(row: AlertRow) -> Known:
    """What the judgement needs of a row."""
    return Known(
        alert_id=row.id,
        fingerprint=row.fingerprint,
        name=row.name,
        severity=Severity(row.severity),
        project=row.project,
        entity_id=row.entity_id,
        entity_name=row.entity_name,
        state=AlertState(row.state),
        detail=row.detail,
        mark=row.mark,
        occurrences=row.occurrences,
        silenced_until=row.silenced_until,
        waits_for_end=row.waits_for_end,
        is_foreign=row.source == AlertSource.ALERTMANAGER,
    )


def silence_of(row: SilenceRow) -> Silence:
    """What the judgement needs of a silence."""
    matchers = Matchers.model_validate(row.matchers)
    return Silence(matchers=matchers, starts_at=row.starts_at, ends_at=row.ends_at)


def _apply(
    change: Change, decision: Decision, rows: dict[str, AlertRow], silences: Sequence[Silence]
) -> None:
    match decision:
        case Open(finding, occurrences):
            _open(change, finding, occurrences, silences)
        case Retell(known, finding, again=True):
            news = {"state": AlertState.OPEN.value, "acknowledged_by": "", "note": ""}
            _write(change, rows, known, AlertChange.CHANGED, detail=finding.detail, mark=finding.mark, **news)
        case Retell(known, finding):
            rows[known.alert_id] = change.note(rows[known.alert_id], detail=finding.detail)
        case Resolve(known):
            end = {"state": AlertState.RESOLVED.value, "resolved_at": change.now}
            _write(change, rows, known, AlertChange.RESOLVED, **end)
        case Forget(known):
            rows[known.alert_id] = change.note(rows[known.alert_id], waits_for_end=False)
        case Quieten(known, until):
            _quieten(change, rows, known, until)


def _write(
    change: Change, rows: dict[str, AlertRow], known: Known, why: AlertChange, **columns: object
) -> None:
    """An alert may change twice in one round: the second change is of the row as the first left it."""
    rows[known.alert_id] = change.write(rows[known.alert_id], why, **columns)


def _quieten(change: Change, rows: dict[str, AlertRow], known: Known, until: datetime | None) -> None:
    why = AlertChange.UNSILENCED if until is None else AlertChange.SILENCED
    _write(change, rows, known, why, silenced_until=until)


def _open(change: Change, finding: Finding, occurrences: int, silences: Sequence[Silence]) -> None:
    row = AlertRow(
        id=change.new_id("al"),
        fingerprint=finding.fingerprint,
        name=finding.spec.name,
        severity=finding.spec.severity.value,
        source=finding.spec.source.value,
        project=finding.project,
        entity_id=finding.entity_id,
        entity_name=finding.entity_name,
        detail=finding.detail,
        mark=finding.mark,
        state=AlertState.OPEN.value,
        change=AlertChange.OPENED.value,
        opened_at=change.now,
        changed_at=change.now,
        occurrences=occurrences,
    )
    row.silenced_until = silenced_until(row, silences, change.now)
    change.open(row)
