"""Routes: public names that lead to instances."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """No port is public so far."""
    op.create_table(
        "route",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("workload_id", sa.String(), nullable=False),
        sa.Column("workload_name", sa.String(), nullable=False),
        sa.Column("port_name", sa.String(), nullable=False),
        sa.Column("protocol", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("port", sa.Integer(), nullable=True),
        sa.Column("plaintext", sa.Boolean(), nullable=False),
        sa.Column("guard", JSONB(), nullable=True),
        sa.Column("taken_down", sa.String(), nullable=False),
        sa.Column("document", JSONB(), nullable=True),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("unpublished", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        schema="registry",
    )
    op.create_index("route_host", "route", ["host"], unique=True, schema="registry")
    op.create_index("route_port", "route", ["port"], unique=True, schema="registry")
    op.create_index("route_workload", "route", ["workload_id"], schema="registry")
    op.create_index(
        "route_unpublished", "route", ["id"], postgresql_where=sa.text("unpublished"), schema="registry"
    )
