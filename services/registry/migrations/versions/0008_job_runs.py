"""Runs of jobs, and up to where each node's are recorded."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Nothing runs as a job yet."""
    known: sa.Column[int] = sa.Column("runs_known", sa.BigInteger(), nullable=False, server_default="0")
    op.add_column("node", known, schema="registry")
    op.alter_column("node", "runs_known", server_default=None, schema="registry")
    op.create_table(
        "job_run",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("workload_id", sa.String(), nullable=False),
        sa.Column("workload_name", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("instance_id", sa.String(), nullable=True),
        sa.Column("node_id", sa.String(), nullable=True),
        sa.Column("slot", sa.Integer(), nullable=True),
        sa.Column("epoch", sa.Integer(), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("trigger", sa.String(), nullable=False),
        sa.Column("scheduled_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("container_id", sa.String(), nullable=False),
        sa.Column("last_log", JSONB(), nullable=False),
        sa.Column("duplicate", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.UniqueConstraint("workload_id", "run_id", "instance_id", name="job_run_once"),
        schema="registry",
    )
    op.create_index("ix_registry_job_run_workload_id", "job_run", ["workload_id"], schema="registry")
    op.create_index(
        "job_run_open",
        "job_run",
        ["workload_id"],
        schema="registry",
        postgresql_where=sa.text("state in ('pending', 'running')"),
    )
