"""Instances remember how their container ended last."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0012"
down_revision = "0010"


def upgrade() -> None:
    """What ended before is not known."""
    op.add_column("instance", sa.Column("last_exit", JSONB(), nullable=True), schema="registry")
