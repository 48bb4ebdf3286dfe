"""Columns and rows that the tables of several services have in common.  Each service has a schema of its own; the shapes are one."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Column, DateTime
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

_JSON = JSON().with_variant(JSONB(), "postgresql")
_MOMENT = DateTime(timezone=True)


def moment(*, nullable: bool = False, index: bool = False) -> Any:
    """A time with its zone."""
    column = Column(_MOMENT, nullable=nullable, index=index)
    return Field(default=None, sa_column=column) if nullable else Field(sa_column=column)


def document(*, nullable: bool = False) -> Any:
    """A JSON document, as JSONB in Postgres."""
    return Field(default=None if nullable else ..., sa_column=Column(_JSON, nullable=nullable))


def document_starting_as(kind: type[dict[str, Any]] | type[list[Any]]) -> Any:
    """An empty one of this kind.  Each row gets a copy of its own; a `default_factory` does the same, but Pydantic looks at its signature
    for every row made, which was half of the time that a row takes."""
    return Field(default=kind(), sa_column=Column(_JSON, nullable=False))


class AuditColumns(SQLModel):
    """What an audit row says, whichever service keeps it.  A column object belongs to one table, so here are types alone."""

    id: str = Field(primary_key=True)
    at: datetime = Field(sa_type=_MOMENT)
    actor: str
    action: str
    entity: str
    entity_id: str
    entity_name: str = ""
    project: str | None = None
    request_id: str = ""
    before: dict[str, Any] | None = Field(default=None, sa_type=_JSON)
    after: dict[str, Any] | None = Field(default=None, sa_type=_JSON)
