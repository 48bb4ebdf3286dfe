"""Nodes know when the scheduler would last have seen a change of them, so that it need not read all of them each time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """A scheduler that begins its term reads all nodes anyway: when those that are there changed does not matter."""
    at = sa.Column("placement_changed_at", sa.DateTime(timezone=True), nullable=True)
    op.add_column("node", at, schema="registry")
    op.create_index("node_placement_changed", "node", ["placement_changed_at"], schema="registry")
