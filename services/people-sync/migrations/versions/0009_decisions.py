"""Decisions that wait to be carried out, and differences that are kept.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("conflict", sa.Column("decision", JSONB, nullable=True))
    op.add_column("conflict", sa.Column("answered", JSONB, nullable=False, server_default="{}"))
    op.add_column("conflict", sa.Column("theirs_read_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("conflict", sa.Column("child", sa.Boolean(), nullable=True))
    op.add_column("link", sa.Column("decided", JSONB, nullable=False, server_default="{}"))
    op.create_index(
        "ix_conflict_decision", "conflict", ["organization_id", "id"], postgresql_where=sa.text("decision IS NOT NULL")
    )
