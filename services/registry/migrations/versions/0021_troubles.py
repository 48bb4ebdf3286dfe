"""What is wrong is found without reading what is well: asked every few seconds, over all that there is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
SCHEMA = "registry"

_INDEXES = (
    ("instance_unready", "instance", "id", "unready_since is not null and gone_at is null"),
    ("instance_failed", "instance", "id", "phase = 'failed' and gone_at is null"),
    ("job_run_failed", "job_run", "finished_at", "state = 'failed'"),
    ("operation_failed", "operation", "ended_at", "state = 'failed'"),
    ("fact_dead_letter", "fact", "created_at", "entity = 'dead_letter'"),
)


def upgrade() -> None:
    """The version of an agent stands in its inventory already."""
    op.add_column("node", sa.Column("agent_version", sa.String()), schema=SCHEMA)
    op.add_column("node", sa.Column("disk_low", sa.Boolean()), schema=SCHEMA)
    op.execute(
        f"""
        UPDATE {SCHEMA}.node SET agent_version = coalesce(inventory ->> 'agent_version', ''),
        disk_low = coalesce(jsonb_typeof(disk_full) = 'object', false)
        """
    )
    op.alter_column("node", "agent_version", nullable=False, schema=SCHEMA)
    op.alter_column("node", "disk_low", nullable=False, schema=SCHEMA)
    for name, table, column, where in _INDEXES:
        op.create_index(name, table, [column], schema=SCHEMA, postgresql_where=sa.text(where))
