"""Links: names for other workloads inside containers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """No workload has one so far."""
    op.create_table(
        "link",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("workload_id", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        schema="registry",
    )
    op.create_index("link_pair", "link", ["workload_id", "target"], unique=True, schema="registry")
    op.create_index("link_to", "link", ["project", "target"], schema="registry")
    op.create_table(
        "link_target",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("document", JSONB(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("unpublished", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        schema="registry",
    )
    op.create_index("link_target_name", "link_target", ["project", "name"], unique=True, schema="registry")
    op.create_index(
        "link_target_unpublished",
        "link_target",
        ["id"],
        postgresql_where=sa.text("unpublished"),
        schema="registry",
    )
    op.create_table(
        "link_touch",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        schema="registry",
    )
