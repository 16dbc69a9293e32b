"""A table of strays: a worker made them in Planning Center after its lease was lost; the record's next writer settles
them.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "stray",
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("pco_organization_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("pco_id", sa.Text, nullable=False),
        sa.Column("record_id", sa.Uuid(), nullable=False),
        sa.Column("intent_id", sa.Uuid(), nullable=False),
        sa.Column("content", JSONB, nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("organization_id", "pco_organization_id", "kind", "pco_id", name="pk_stray"),
    )
    op.create_index(
        "ix_stray_open",
        "stray",
        ["organization_id", "pco_organization_id", "record_id"],
        postgresql_where=sa.text("settled_at IS NULL"),
    )
