"""People who were erased: receipts, what each is about, and whom no sync brings back.

Revision ID: 0016
Revises: 0011
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.create_table(
        "erasure",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("record_id", sa.Uuid(), nullable=False),
        sa.Column("on_request_of", sa.Text(), nullable=False),
        sa.Column("by_user_id", sa.Text(), nullable=False),
        sa.Column("by_name", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("counts", postgresql.JSONB(), nullable=False),
        sa.Column("let_back_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("let_back_by_name", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasure")),
    )
    op.create_index("ix_erasure_organization", "erasure", ["organization_id", "at", "id"])
    op.create_table(
        "erased_record",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("record_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("erasure_id", sa.Uuid(), nullable=False),
        sa.Column("told", postgresql.JSONB(), nullable=True),
        sa.PrimaryKeyConstraint("organization_id", "record_id", name=op.f("pk_erased_record")),
        sa.ForeignKeyConstraint(["erasure_id"], ["erasure.id"], name=op.f("fk_erased_record_erasure_id_erasure")),
    )
    op.create_index("ix_erased_record_erasure", "erased_record", ["erasure_id"])
    op.create_table(
        "erased",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("pco_organization_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("pco_id", sa.Text(), nullable=False),
        sa.Column("erasure_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint(
            "organization_id", "pco_organization_id", "kind", "pco_id", "erasure_id", name=op.f("pk_erased")
        ),
        sa.ForeignKeyConstraint(["erasure_id"], ["erasure.id"], name=op.f("fk_erased_erasure_id_erasure")),
    )
    op.create_index("ix_erased_erasure", "erased", ["erasure_id"])
