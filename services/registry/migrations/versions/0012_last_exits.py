"""Instances remember how their container ended last, and since when they keep failing; such are tried elsewhere."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """What ended before is not known."""
    op.add_column("instance", sa.Column("last_exit", JSONB(), nullable=True), schema="registry")
    since = sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True)
    op.add_column("instance", since, schema="registry")
    op.create_index(
        "instance_failing",
        "instance",
        ["id"],
        postgresql_where=sa.text("failing_since is not null and gone_at is null"),
        schema="registry",
    )
    _add(sa.Column("given_up", sa.String(), nullable=False, server_default=""))
    _add(sa.Column("moves", sa.Integer(), nullable=False, server_default="0"))
    _add(sa.Column("avoid", JSONB(), nullable=False, server_default="{}"))

    # A hold is ended by the judge from now on: one that is long over is none.
    op.execute("update registry.cluster set moves_held_until = null where moves_held_until < now()")


def _add(column: sa.Column[Any]) -> None:
    op.add_column("instance", column, schema="registry")
    op.alter_column("instance", column.name, server_default=None, schema="registry")
