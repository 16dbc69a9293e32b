"""Decisions, and bulk answers to conflicts.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from servicekit.db.migrations import create_servicekit_tables

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    create_servicekit_tables(outbox=False, inbox=False, jobs=True)
    op.add_column("conflict", sa.Column("child", sa.Boolean(), nullable=True))
    op.add_column("conflict", sa.Column("field_names", ARRAY(sa.Text), nullable=False, server_default="{}"))
    op.add_column("conflict", sa.Column("one_side_empty", sa.Boolean(), nullable=False, server_default="false"))
    op.execute(
        """
        UPDATE conflict SET
            field_names = ARRAY(SELECT value ->> 'field' FROM jsonb_array_elements(fields) AS value),
            one_side_empty = EXISTS (
                SELECT FROM jsonb_array_elements(fields) AS value
                WHERE (coalesce(value ->> 'ours', '') = '') <> (coalesce(value ->> 'theirs', '') = '')
            )
        """
    )
    op.add_column("conflict", sa.Column("decision_id", sa.Text, nullable=True))
    op.create_index(
        "ix_conflict_count",
        "conflict",
        ["organization_id"],
        postgresql_include=["field_names", "child", "one_side_empty", "opened_at"],
        postgresql_where=sa.text("state = 'open'"),
    )
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
        sa.Column("bulk_id", sa.Text, nullable=True),
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
    op.create_index(
        "ix_decision_bulk",
        "decision",
        ["organization_id", "bulk_id", "outcome"],
        postgresql_where=sa.text("bulk_id IS NOT NULL"),
    )
    op.create_table(
        "bulk",
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("answer", sa.Text, nullable=False),
        sa.Column("field", sa.Text, nullable=True),
        sa.Column("conflict_ids", ARRAY(sa.Text), nullable=False),
        sa.Column("values_versions", ARRAY(sa.Integer), nullable=False),
        sa.Column("names", ARRAY(sa.Text), nullable=False),
        sa.Column("left_out", sa.Integer, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("done", sa.Integer, nullable=False),
        sa.Column("skipped", sa.Integer, nullable=False),
        sa.Column("decided_by", sa.Text, nullable=True),
        sa.Column("decided_by_name", sa.Text, nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_bulk")),
    )
    op.create_index("ix_bulk_created", "bulk", ["created_at"])
    op.create_table(
        "bulk_skipped",
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("bulk_id", sa.Text, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("sentence", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "bulk_id", "position", name=op.f("pk_bulk_skipped")),
    )
