"""Nodes whose disk is too full take no new work."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Nobody knows of a full disk until its node is heard."""
    disk_full: sa.Column[object] = sa.Column("disk_full", JSONB(), nullable=True)
    op.add_column("node", disk_full, schema="registry")
