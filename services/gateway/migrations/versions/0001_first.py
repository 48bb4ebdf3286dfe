"""Users, their roles, tokens and sign-ins; the audit trail; kept answers; marks."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
SCHEMA = "gateway"


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(), nullable=nullable)


def _at(name: str, *, nullable: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _id() -> sa.Column[str]:
    return sa.Column("id", sa.String(), primary_key=True)


def _user_id() -> sa.Column[str]:
    owner = sa.ForeignKey(f"{SCHEMA}.users.id", ondelete="CASCADE")
    return sa.Column("user_id", sa.String(), owner, nullable=False, index=True)


def _json(name: str) -> sa.Column[object]:
    return sa.Column(name, postgresql.JSONB(), nullable=True)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "users",
        _id(),
        sa.Column("username", sa.String(), nullable=False, unique=True),
        _text("password_hash", nullable=True),
        _at("created_at"),
        _at("updated_at"),
        sa.Column("version", sa.Integer(), nullable=False),
        schema=SCHEMA,
    )
    op.create_table("role_bindings", _id(), _user_id(), _text("project"), _text("role"), schema=SCHEMA)
    op.create_table(
        "api_tokens",
        _id(),
        _user_id(),
        _text("name"),
        _text("token_sha256"),
        _text("role", nullable=True),
        _text("project", nullable=True),
        _at("created_at"),
        _at("expires_at"),
        _at("last_used_at", nullable=True),
        _text("last_used_from"),
        schema=SCHEMA,
    )
    op.create_table(
        "sessions",
        _id(),
        _user_id(),
        _text("token_sha256"),
        _at("created_at"),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False, index=True),
        _at("last_used_at", nullable=True),
        _text("last_used_from"),
        schema=SCHEMA,
    )
    op.create_table(
        "audit",
        _id(),
        _at("at"),
        sa.Column("actor", sa.String(), nullable=False, index=True),
        _text("action"),
        _text("entity"),
        _text("entity_id"),
        _text("project", nullable=True),
        _text("request_id"),
        _json("before"),
        _json("after"),
        schema=SCHEMA,
    )
    op.create_table(
        "idempotent_answers",
        _id(),
        _text("request_hash"),
        _text("sealed"),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False, index=True),
        schema=SCHEMA,
    )
    op.create_table("marks", _id(), _at("at"), schema=SCHEMA)
