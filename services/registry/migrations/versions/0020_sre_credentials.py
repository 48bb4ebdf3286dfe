"""Who may hear alerts at the bus itself."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
SCHEMA = "registry"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "sre_credential",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("nkey", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=True),
        sa.Column("may_order", sa.Boolean(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        schema=SCHEMA,
    )
    op.create_index(
        "sre_credential_name",
        "sre_credential",
        ["name"],
        unique=True,
        schema=SCHEMA,
        postgresql_where=sa.text("revoked_at is null"),
    )
