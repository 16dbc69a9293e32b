"""What people decide.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("conflict", sa.Column("decision_id", sa.Text, nullable=True))
    op.drop_constraint("ck_conflict_state", "conflict")
    op.create_check_constraint(
        op.f("ck_conflict_state"),
        "conflict",
        "state IN ('open', 'resolving', 'resolved', 'agreed_elsewhere', 'withdrawn')",
    )
    op.create_table(
        "decision",
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("conflict_id", sa.Text, nullable=False),
        sa.Column("choices", JSONB, nullable=False),
        sa.Column("fields", JSONB, nullable=False),
        sa.Column("decided_by", sa.Text, nullable=False),
        sa.Column("decided_by_name", sa.Text, nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("sentence", sa.Text, nullable=True),
        sa.Column("refused", ARRAY(sa.Text), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "outcome IN ('waiting', 'applied', 'overtaken', 'not_needed')", name=op.f("ck_decision_outcome")
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "conflict_id"],
            ["conflict.organization_id", "conflict.id"],
            name=op.f("fk_decision_organization_id_conflict"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_decision")),
    )
    op.create_index("ix_decision_conflict", "decision", ["organization_id", "conflict_id", "decided_at"])
