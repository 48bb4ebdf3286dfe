"""Updates: which revision takes the place of which, which one has worked, and since when an instance does not serve."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """What runs already is taken for settled, and its revision for one that works."""
    _workloads()
    since = sa.Column("unready_since", sa.DateTime(timezone=True), nullable=True)
    op.add_column("instance", since, schema="registry")
    op.create_table(
        "rollout",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("workload_id", sa.String(), nullable=False),
        sa.Column("from_revision", sa.Integer(), nullable=True),
        sa.Column("to_revision", sa.Integer(), nullable=False),
        sa.Column("update_order", sa.String(), nullable=False),
        sa.Column("order_reason", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("operation_id", sa.String(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        schema="registry",
    )
    op.create_index("ix_registry_rollout_workload_id", "rollout", ["workload_id"], schema="registry")
    op.create_index(
        "rollout_active",
        "rollout",
        ["workload_id"],
        unique=True,
        schema="registry",
        postgresql_where=sa.text("ended_at is null"),
    )


def _workloads() -> None:
    stable = sa.Column("stable_revision", sa.Integer(), nullable=True)
    settled: sa.Column[bool] = sa.Column("settled", sa.Boolean(), nullable=False, server_default=sa.true())
    op.add_column("workload", stable, schema="registry")
    op.add_column("workload", settled, schema="registry")
    op.execute("update registry.workload set stable_revision = revision")
    op.alter_column("workload", "settled", server_default=None, schema="registry")
    op.create_index(
        "workload_unsettled",
        "workload",
        ["id"],
        schema="registry",
        postgresql_where=sa.text("not settled"),
    )
