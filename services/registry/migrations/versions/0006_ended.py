"""Instances know whether they have ended for good, as one that is to run once does."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """The next report of each node says it."""
    ended: sa.Column[bool] = sa.Column("ended", sa.Boolean(), nullable=False, server_default=sa.false())
    op.add_column("instance", ended, schema="registry")
    op.alter_column("instance", "ended", server_default=None, schema="registry")
