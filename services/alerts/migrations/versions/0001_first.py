"""Alerts, silences, sinks, what is still to be told, and the audit trail."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
SCHEMA = "alerts"


def _text(name: str, *, nullable: bool = False, index: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(), nullable=nullable, index=index)


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=False)


def _at(name: str, *, nullable: bool = False, index: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable, index=index)


def _id() -> sa.Column[str]:
    return sa.Column("id", sa.String(), primary_key=True)


def _json(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, postgresql.JSONB(), nullable=nullable)


def upgrade() -> None:
    """Make the tables."""
    _make_alerts()
    op.create_table(
        "silence",
        _id(),
        _json("matchers"),
        _at("starts_at"),
        _at("ends_at", index=True),
        _text("reason"),
        _text("created_by"),
        _at("created_at"),
        _number("version"),
        schema=SCHEMA,
    )
    _make_sinks()
    op.create_table("outbox", _id(), _json("alert"), schema=SCHEMA)
    op.create_table(
        "audit",
        _id(),
        _at("at"),
        _text("actor", index=True),
        _text("action"),
        _text("entity"),
        _text("entity_id"),
        _text("entity_name"),
        _text("project", nullable=True),
        _text("request_id"),
        _json("before", nullable=True),
        _json("after", nullable=True),
        schema=SCHEMA,
    )


def _make_sinks() -> None:
    op.create_table(
        "sink",
        _id(),
        sa.Column("name", sa.String(), nullable=False, unique=True),
        _text("kind"),
        _text("target"),
        _json("envelope"),
        _text("min_severity"),
        _text("project", nullable=True),
        _text("created_by"),
        _at("created_at"),
        _at("last_sent_at", nullable=True),
        _text("problem"),
        schema=SCHEMA,
    )
    op.create_table(
        "delivery",
        _id(),
        _text("sink_id", index=True),
        _text("sink_name"),
        _json("alert"),
        _text("state"),
        _number("attempts"),
        _at("next_at"),
        _text("problem"),
        _at("created_at"),
        _at("done_at", nullable=True),
        schema=SCHEMA,
    )
    waits = sa.text("done_at is null")
    op.create_index("delivery_waiting", "delivery", ["sink_id", "id"], schema=SCHEMA, postgresql_where=waits)
    op.create_index("delivery_done", "delivery", ["done_at"], schema=SCHEMA)


def _make_alerts() -> None:
    op.create_table(
        "alert",
        _id(),
        _text("fingerprint", index=True),
        *(_text(name) for name in ("name", "severity", "source", "project", "entity_id", "entity_name")),
        *(_text(name) for name in ("detail", "mark", "state", "change")),
        _number("number"),
        _at("opened_at"),
        _at("changed_at"),
        _text("acknowledged_by"),
        _text("note"),
        _at("silenced_until", nullable=True),
        _at("resolved_at", nullable=True),
        _text("resolved_by"),
        sa.Column("waits_for_end", sa.Boolean(), nullable=False),
        _number("occurrences"),
        _number("version"),
        schema=SCHEMA,
    )
    is_open, lives = sa.text("resolved_at is null"), sa.text("resolved_at is null or waits_for_end")
    op.create_index(
        "alert_once", "alert", ["fingerprint"], unique=True, schema=SCHEMA, postgresql_where=is_open
    )
    op.create_index("alert_living", "alert", ["id"], schema=SCHEMA, postgresql_where=lives)
    op.create_index("alert_over", "alert", ["resolved_at"], schema=SCHEMA)
