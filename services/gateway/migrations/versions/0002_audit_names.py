"""The audit trail names what was changed, as people call it: ids alone tell a reader nothing, and the thing itself may be gone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Rows from before keep an empty name."""
    name = sa.Column("entity_name", sa.String(), nullable=False, server_default="")
    op.add_column("audit", name, schema="gateway")
    op.alter_column("audit", "entity_name", server_default=None, schema="gateway")
