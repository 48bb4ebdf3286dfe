"""Nodes whose disk is too full take no new work, and workloads may keep apart from others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Nobody knows of a full disk until its node is heard; no workload could keep apart before."""
    disk_full: sa.Column[object] = sa.Column("disk_full", JSONB(), nullable=True)
    op.add_column("node", disk_full, schema="registry")
    keeps_apart: sa.Column[bool] = sa.Column(
        "keeps_apart", sa.Boolean(), nullable=False, server_default=sa.false()
    )
    op.add_column("workload", keeps_apart, schema="registry")
    op.alter_column("workload", "keeps_apart", server_default=None, schema="registry")
    op.create_index(
        "workload_keeps_apart",
        "workload",
        ["project"],
        schema="registry",
        postgresql_where=sa.text("keeps_apart"),
    )
