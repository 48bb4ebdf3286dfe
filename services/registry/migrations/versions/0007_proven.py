"""Instances know since when they serve, so that an update trusts only what has served for a while."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """What runs already is trusted."""
    since = sa.Column("ready_since", sa.DateTime(timezone=True), nullable=True)
    proven: sa.Column[bool] = sa.Column("proven", sa.Boolean(), nullable=False, server_default=sa.true())
    op.add_column("instance", since, schema="registry")
    op.add_column("instance", proven, schema="registry")
    op.alter_column("instance", "proven", server_default=None, schema="registry")
    op.execute("update registry.instance set ready_since = started_at where phase = 'running'")
