"""The log of an operation, kept with it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Earlier operations have none."""
    op.add_column(
        "operation",
        sa.Column("log", JSONB(), nullable=False, server_default=sa.text("'[]'::jsonb")),
        schema="registry",
    )
    op.alter_column("operation", "log", server_default=None, schema="registry")
