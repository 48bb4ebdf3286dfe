"""The rows of the alerts service: alerts, silences, what is still to be told, and who did what.

A row with `version` is guarded against changes decided on an older reading.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from sqlalchemy import Index, MetaData, text
from sqlmodel import Field, SQLModel

from lattice.columns import AuditColumns, document, moment
from lattice.migrations import Migrations

SCHEMA = "alerts"
metadata = MetaData(schema=SCHEMA)


class Row(SQLModel):
    """Common to all rows of this service: their schema."""

    metadata: ClassVar[MetaData] = metadata


class AlertRow(Row, table=True):
    """One alert from its opening to its end.  `number` counts its changes; `waits_for_end`: somebody declared it over while it still was so.

    `state` is open, acknowledged or resolved: whether it is silenced says `silenced_until`.
    """

    __tablename__ = "alert"
    __table_args__ = (
        Index("alert_once", "fingerprint", unique=True, postgresql_where=text("resolved_at is null")),
        Index("alert_living", "id", postgresql_where=text("resolved_at is null or waits_for_end")),
        Index("alert_over", "resolved_at"),
    )
    id: str = Field(primary_key=True)
    fingerprint: str = Field(index=True)
    name: str
    severity: str
    source: str
    project: str
    entity_id: str
    entity_name: str
    detail: str = ""
    mark: str = ""
    state: str
    change: str
    number: int = 1
    opened_at: datetime = moment()
    changed_at: datetime = moment()
    acknowledged_by: str = ""
    note: str = ""
    silenced_until: datetime | None = moment(nullable=True)
    resolved_at: datetime | None = moment(nullable=True)
    resolved_by: str = ""
    waits_for_end: bool = False
    occurrences: int = 1
    version: int = 1


class SilenceRow(Row, table=True):
    """Nobody is told of what matches, from `starts_at` to `ends_at`; ended early, `ends_at` is when."""

    __tablename__ = "silence"
    id: str = Field(primary_key=True)
    matchers: dict[str, Any] = document()
    starts_at: datetime = moment()
    ends_at: datetime = moment(index=True)
    reason: str
    created_by: str
    created_at: datetime = moment()
    version: int = 1


class SinkRow(Row, table=True):
    """Where people are told of alerts; the address is envelope-encrypted, for it may hold a token."""

    __tablename__ = "sink"
    id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    kind: str
    target: str
    envelope: dict[str, Any] = document()
    min_severity: str
    project: str | None = None
    created_by: str
    created_at: datetime = moment()
    last_sent_at: datetime | None = moment(nullable=True)
    problem: str = ""


class DeliveryRow(Row, table=True):
    """A change of an alert on its way to a sink; written in the transaction of the change.  Ids sort by time."""

    __tablename__ = "delivery"
    __table_args__ = (
        Index("delivery_waiting", "sink_id", "id", postgresql_where=text("done_at is null")),
        Index("delivery_done", "done_at"),
    )
    id: str = Field(primary_key=True)
    sink_id: str = Field(index=True)
    sink_name: str
    alert: dict[str, Any] = document()
    state: str
    attempts: int = 0
    next_at: datetime = moment()
    problem: str = ""
    created_at: datetime = moment()
    done_at: datetime | None = moment(nullable=True)


class OutboxRow(Row, table=True):
    """A change of an alert that is still to be told on the bus; written in the transaction of the change.  Ids sort by time."""

    __tablename__ = "outbox"
    id: str = Field(primary_key=True)
    alert: dict[str, Any] = document()


class AuditRow(AuditColumns, Row, table=True):
    """What people did here; written in the transaction of the change.  Ids sort by time."""

    __tablename__ = "audit"
    actor: str = Field(index=True)


TABLES: tuple[type[Row], ...] = (AlertRow, SilenceRow, SinkRow, DeliveryRow, OutboxRow, AuditRow)

MIGRATIONS = Migrations(schema=SCHEMA, folder=Path(__file__).with_name("migrations"), metadata=metadata)
