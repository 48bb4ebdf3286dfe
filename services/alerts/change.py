"""One change of alerts: rows, what is told of them and audit rows, committed together or not at all; and alerts as they are told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from lattice.alerts import BY_NAME, AlertSpec, dashboard_of
from lattice.contracts.messages import (
    Alert,
    AlertChange,
    AlertSource,
    AlertState,
    Caller,
    DeliveryState,
    Severity,
    SinkKind,
)
from lattice.storage import Store, Transaction
from services.alerts import store as queries
from services.alerts.lifecycle import shown_state
from services.alerts.sink_rules import GROUP_WAIT, Sink, wants
from services.alerts.tables import AlertRow, AuditRow, DeliveryRow, OutboxRow, SinkRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """Where the pages about alerts are; `{runbook}` and `{dashboard}` stand for their names."""

    runbook: str = ""
    dashboard: str = ""


def alert_of(row: AlertRow, pages: Pages) -> Alert:
    """A row as it is told."""
    spec = BY_NAME.get(row.name)
    state = shown_state(AlertState(row.state), row.silenced_until)
    return Alert(
        id=row.id,
        fingerprint=row.fingerprint,
        name=row.name,
        severity=Severity(row.severity),
        source=AlertSource(row.source),
        project=row.project,
        state=state,
        change=AlertChange(row.change),
        number=row.number,
        entity_id=row.entity_id,
        entity_name=row.entity_name,
        summary=spec.summary if spec else "",
        description=row.detail,
        labels={"project": row.project, row.source: row.entity_name},
        runbook_url=pages.runbook.format(runbook=spec.runbook) if spec else "",
        dashboard_url=_dashboard_url(row, spec, pages),
        opened_at=row.opened_at,
        changed_at=row.changed_at,
        resolved_at=row.resolved_at,
        resolved_by=row.resolved_by,
        acknowledged_by=row.acknowledged_by,
        note=row.note,
        silenced_until=row.silenced_until,
        occurrences=row.occurrences,
    )


def _dashboard_url(row: AlertRow, spec: AlertSpec | None, pages: Pages) -> str:
    """The dashboard of its kind, showing what the alert is about."""
    source = (
        spec.source if spec else AlertSource(row.source)
    )  # also where an Alertmanager brought one of ours
    url = pages.dashboard.format(dashboard=spec.seen_on if spec else dashboard_of(source))
    shown = {"node": row.entity_name} if source is AlertSource.NODE else {}
    if source is AlertSource.WORKLOAD:
        shown = {"project": row.project, "workload": row.entity_name}
    query = urlencode({f"var-{name}": value for name, value in shown.items()})
    return f"{url}{'&' if '?' in url else '?'}{query}" if url and query else url


def sink_of(row: SinkRow) -> Sink:
    """What the rules need of a sink's row."""
    return Sink(kind=SinkKind(row.kind), min_severity=Severity(row.min_severity), project=row.project)


@dataclass(slots=True)
class Change:
    """The open change; see `Deps.change`."""

    tx: Transaction
    now: datetime
    new_id: Callable[[str], str]
    pages: Pages
    sinks: Sequence[SinkRow] = ()

    def open(self, row: AlertRow) -> AlertRow:
        """A new alert."""
        return self._tell(self.tx.add(row))

    def write(self, row: AlertRow, change: AlertChange, **columns: Any) -> AlertRow:
        """Change an alert and tell of it."""
        told = {"change": change.value, "changed_at": self.now, "number": row.number + 1}
        return self._tell(self.tx.update(row, **columns, **told))

    def note(self, row: AlertRow, **columns: Any) -> AlertRow:
        """Change what is known of an alert; nobody is told."""
        return self.tx.update(row, **columns)

    def _tell(self, row: AlertRow) -> AlertRow:
        alert = alert_of(row, self.pages)
        self.tx.add(OutboxRow(id=self.new_id("ot"), alert=alert.model_dump(mode="json")))
        for sink in self.sinks:
            if wants(sink_of(sink), alert):
                self.tx.add(self._delivery(sink, alert))
        return row

    def _delivery(self, sink: SinkRow, alert: Alert) -> DeliveryRow:
        return DeliveryRow(
            id=self.new_id("dv"),
            sink_id=sink.id,
            sink_name=sink.name,
            alert=alert.model_dump(mode="json"),
            state=DeliveryState.WAITING.value,
            next_at=self.now + GROUP_WAIT,
            created_at=self.now,
        )

    def audit(
        self,
        caller: Caller,
        action: str,
        entity: tuple[str, str, str],
        *,
        project: str | None = None,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
    ) -> None:
        """Leave a trace of who did what; `entity` is its kind, id and name."""
        kind, entity_id, name = entity
        self.tx.add(
            AuditRow(
                id=self.new_id("au"),
                at=self.now,
                actor=caller.actor,
                action=action,
                entity=kind,
                entity_id=entity_id,
                entity_name=name,
                project=project,
                request_id=caller.request_id,
                before=None if before is None else dict(before),
                after=None if after is None else dict(after),
            )
        )


def _nobody() -> None:
    """Nobody needs to be woken."""


@dataclass(frozen=True, slots=True)
class Deps:
    """What everything here may use.  `woken` is called after each change, so that what was said is heard at once; `look` makes the watch look."""

    store: Store
    now: Callable[[], datetime]
    new_id: Callable[[str], str]
    pages: Pages = field(default_factory=Pages)
    woken: Callable[[], None] = _nobody
    look: Callable[[], None] = _nobody

    @asynccontextmanager
    async def change(self) -> AsyncIterator[Change]:
        """Begin a change; commits at the end."""
        async with self.store.transaction() as tx:
            yield Change(tx, self.now(), self.new_id, self.pages, await queries.sinks(tx))
        self.woken()
