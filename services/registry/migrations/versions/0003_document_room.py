"""Instances know how much of their node's document they take, so that placement never fills it beyond what a node can be sent."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """What runs already counts as nothing until its next revision; the document itself is checked when it is rendered."""
    size = sa.Column("document_bytes", sa.Integer(), nullable=False, server_default="0")
    op.add_column("instance", size, schema="registry")
    op.alter_column("instance", "document_bytes", server_default=None, schema="registry")
