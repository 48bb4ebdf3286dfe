"""The gateway's rows: who may sign in, with what, and what they did here.  The platform's state is the registry's, not ours.

Only hashes of passwords and tokens are kept.  A row with `version` is guarded against changes decided on an older reading.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import ClassVar

from sqlalchemy import MetaData
from sqlmodel import Field, SQLModel

from lattice.columns import AuditColumns, moment
from lattice.migrations import Migrations

SCHEMA = "gateway"
metadata = MetaData(schema=SCHEMA)


class Row(SQLModel):
    """Common to all rows of this service: their schema."""

    metadata: ClassVar[MetaData] = metadata


class UserRow(Row, table=True):
    """Somebody who can sign in.  Without a password hash only tokens speak for them."""

    __tablename__ = "users"
    id: str = Field(primary_key=True)
    username: str = Field(unique=True)
    password_hash: str | None = None
    created_at: datetime = moment()
    updated_at: datetime = moment()
    version: int = 1


class RoleRow(Row, table=True):
    """A user's role in one project, or with project `*` over the platform."""

    __tablename__ = "role_bindings"
    id: str = Field(primary_key=True, description="user id, slash, project")
    user_id: str = Field(index=True, foreign_key="gateway.users.id", ondelete="CASCADE")
    project: str
    role: str


class ApiTokenRow(Row, table=True):
    """A program's right to act as a user, at most with `role` and only in `project` where they are set."""

    __tablename__ = "api_tokens"
    id: str = Field(primary_key=True)
    user_id: str = Field(index=True, foreign_key="gateway.users.id", ondelete="CASCADE")
    name: str
    token_sha256: str
    role: str | None = None
    project: str | None = None
    created_at: datetime = moment()
    expires_at: datetime = moment()
    last_used_at: datetime | None = moment(nullable=True)
    last_used_from: str = ""


class SessionRow(Row, table=True):
    """A sign-in with a password; it ends by signing out, by age, or when the password changes."""

    __tablename__ = "sessions"
    id: str = Field(primary_key=True)
    user_id: str = Field(index=True, foreign_key="gateway.users.id", ondelete="CASCADE")
    token_sha256: str
    created_at: datetime = moment()
    expires_at: datetime = moment(index=True)
    last_used_at: datetime | None = moment(nullable=True)
    last_used_from: str = ""


class AuditRow(AuditColumns, Row, table=True):
    """What was done here, by whom; written in the transaction of the change.  Ids sort by time."""

    __tablename__ = "audit"
    actor: str = Field(index=True)


class AnswerRow(Row, table=True):
    """The answer that was given under an Idempotency-Key, sealed with the caller's own credential."""

    __tablename__ = "idempotent_answers"
    id: str = Field(primary_key=True)
    request_hash: str
    sealed: str
    expires_at: datetime = moment(index=True)


class MarkRow(Row, table=True):
    """Something that happens once in the life of a platform, and when it did."""

    __tablename__ = "marks"
    id: str = Field(primary_key=True)
    at: datetime = moment()


MIGRATIONS = Migrations(schema=SCHEMA, folder=Path(__file__).with_name("migrations"), metadata=metadata)
