"""Apps: workloads that came from one compose file; instances that wait for other workloads before they are made."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Nothing that is there belongs to an app, and nothing waits."""
    at = sa.DateTime(timezone=True)
    op.create_table(
        "app",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("desired", sa.String(), nullable=False),
        sa.Column("created_at", at, nullable=False),
        sa.Column("updated_at", at, nullable=False),
        sa.Column("removed_at", at, nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        schema="registry",
    )
    op.create_index(
        "app_name",
        "app",
        ["project", "name"],
        unique=True,
        schema="registry",
        postgresql_where=sa.text("removed_at is null"),
    )
    op.add_column("workload", sa.Column("app_id", sa.String(), nullable=True), schema="registry")
    op.add_column("workload", sa.Column("app", sa.String(), nullable=True), schema="registry")
    op.add_column("workload", sa.Column("service", sa.String(), nullable=True), schema="registry")
    op.create_index(
        "workload_of_app",
        "workload",
        ["app_id"],
        schema="registry",
        postgresql_where=sa.text("app_id is not null"),
    )
    op.add_column("instance", sa.Column("waits_on", sa.String(), nullable=True), schema="registry")
    waits_for: sa.Column[str] = sa.Column("waits_for", sa.String(), nullable=False, server_default="")
    op.add_column("instance", waits_for, schema="registry")
    op.alter_column("instance", "waits_for", server_default=None, schema="registry")
    op.add_column("instance", sa.Column("released_at", at, nullable=True), schema="registry")
    op.create_index(
        "instance_waiting",
        "instance",
        ["project", "waits_on"],
        schema="registry",
        postgresql_where=sa.text("waits_on is not null"),
    )
