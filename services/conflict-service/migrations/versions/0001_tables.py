"""The tables of conflict-service.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from servicekit.db.migrations import create_servicekit_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_servicekit_tables()
    op.create_table(
        "conflict",
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("record", JSONB, nullable=False),
        sa.Column("family_ids", ARRAY(sa.Text), nullable=False),
        sa.Column("fields", JSONB, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("source_version", sa.Integer, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "id", name="pk_conflict"),
        sa.CheckConstraint("state IN ('open', 'resolved', 'agreed_elsewhere')", name="ck_conflict_state"),
    )
    op.create_index("ix_conflict_list", "conflict", ["organization_id", "state", "opened_at", "id"])
    op.create_index(
        "ix_conflict_family_ids",
        "conflict",
        ["family_ids"],
        postgresql_using="gin",
        postgresql_where=sa.text("state = 'open'"),
    )
