"""Nodes know when they were last told of: an update trusts what is new for as long as it was seen to serve, and not for as long as nobody
said otherwise."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Each node reports within half a minute."""
    op.add_column(
        "node", sa.Column("observed_at", sa.DateTime(timezone=True), nullable=True), schema="registry"
    )
