"""Domains of people's own that lead to public names once DNS says so."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """No workload asks for one so far."""
    op.create_table(
        "domain",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("route_id", sa.String(), nullable=False),
        sa.Column("workload_id", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_check_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        schema="registry",
    )
    op.create_index("domain_route", "domain", ["route_id", "name"], unique=True, schema="registry")
    op.create_index(
        "domain_verified",
        "domain",
        ["name"],
        unique=True,
        postgresql_where=sa.text("state = 'verified'"),
        schema="registry",
    )
    op.create_index("domain_workload", "domain", ["workload_id"], schema="registry")
    op.create_index("domain_due", "domain", ["next_check_at"], schema="registry")
