"""Instances with data that are just gone are found fast: the room of their successors is kept."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Nothing is held so far."""
    op.create_index(
        "instance_gone_with_data",
        "instance",
        ["gone_at"],
        postgresql_where=sa.text("has_volume and gone_at is not null"),
        schema="registry",
    )
