"""Work moves off nodes: since when one is lost, whether people say so, and until when our own fault is likelier."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """A node that is away now counts as lost from now on."""
    at = sa.DateTime(timezone=True)
    confirmed: sa.Column[bool] = sa.Column(
        "loss_confirmed", sa.Boolean(), nullable=False, server_default=sa.false()
    )
    op.add_column("cluster", sa.Column("moves_held_until", at, nullable=True), schema="registry")
    op.add_column("node", sa.Column("lost_since", at, nullable=True), schema="registry")
    op.add_column("node", confirmed, schema="registry")
    op.alter_column("node", "loss_confirmed", server_default=None, schema="registry")
    op.execute(
        "update registry.node set lost_since = now() where liveness = 'unreachable' and membership = 'approved'"
    )
    op.create_index(
        "node_left",
        "node",
        ["id"],
        schema="registry",
        postgresql_where=sa.text("draining or lost_since is not null"),
    )
