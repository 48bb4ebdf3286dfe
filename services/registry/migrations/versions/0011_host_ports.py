"""Instances know the fixed host ports that they take on their node, so that no two of one port are placed together."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """No workload had one before."""
    none = sa.text("'[]'::jsonb")
    ports: sa.Column[object] = sa.Column(
        "host_ports", postgresql.JSONB(), nullable=False, server_default=none
    )
    op.add_column("instance", ports, schema="registry")
    op.alter_column("instance", "host_ports", server_default=None, schema="registry")
