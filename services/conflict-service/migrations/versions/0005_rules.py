"""Rules, and a list in which a family's conflicts stand together.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "rule",
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("fields", ARRAY(sa.Text), nullable=False),
        sa.Column("answer", sa.Text, nullable=False),
        sa.Column("older_than_days", sa.Integer, nullable=True),
        sa.Column("empty", sa.Text, nullable=True),
        sa.Column("child", sa.Boolean, nullable=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("is_on", sa.Boolean, nullable=False),
        sa.Column("made_by", sa.Text, nullable=False),
        sa.Column("made_by_name", sa.Text, nullable=True),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("bulk_id", sa.Text, nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("answer IN ('ours', 'theirs')", name=op.f("ck_rule_answer")),
        sa.CheckConstraint("empty IN ('ours', 'theirs')", name=op.f("ck_rule_empty")),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_rule")),
    )
    op.create_index(
        "uq_rule_condition",
        "rule",
        ["organization_id", "kind", "answer", "older_than_days", "empty", "child"],
        unique=True,
        postgresql_nulls_not_distinct=True,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_table(
        "rule_lesson",
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "kind", name=op.f("pk_rule_lesson")),
    )
    op.add_column("bulk", sa.Column("rule_id", sa.Text, nullable=True))
    op.add_column("decision", sa.Column("rule_id", sa.Text, nullable=True))
    op.add_column("decision", sa.Column("kind", sa.Text, nullable=True))
    op.add_column("decision", sa.Column("answer", sa.Text, nullable=False, server_default="mixed"))
    op.execute(
        """
        UPDATE decision SET
            answer = (
                SELECT CASE WHEN min(value) = max(value) THEN min(value) ELSE 'mixed' END FROM jsonb_each_text(choices)
            ),
            kind = (
                SELECT string_agg(field ->> 'field', ',' ORDER BY field ->> 'field' COLLATE "C")
                FROM jsonb_array_elements(fields) AS field
                HAVING NOT bool_or(
                    (field ->> 'base_known')::boolean AND field ->> 'field' <> 'active'
                    AND (field -> 'base' = field -> 'theirs' OR field -> 'base' = field -> 'ours')
                )
            )
        """
    )
    op.alter_column("decision", "answer", server_default=None)
    op.create_index(
        "ix_decision_given",
        "decision",
        ["organization_id", "decided_at", "id"],
        postgresql_where=sa.text("rule_id IS NULL AND bulk_id IS NULL AND kind IS NOT NULL"),
    )
    op.create_index(
        "ix_decision_kind",
        "decision",
        ["organization_id", "kind", "decided_at", "id"],
        postgresql_where=sa.text("rule_id IS NULL AND kind IS NOT NULL"),
    )
    op.create_index(
        "ix_decision_rule",
        "decision",
        ["organization_id", "rule_id", "outcome"],
        postgresql_where=sa.text("rule_id IS NOT NULL"),
    )
    op.add_column("conflict", sa.Column("together", sa.Text, nullable=False, server_default=""))
    op.add_column("conflict", sa.Column("placed_at", sa.DateTime(timezone=True), nullable=True))
    op.execute("UPDATE conflict SET together = coalesce(family_ids[1], record ->> 'id'), placed_at = opened_at")
    op.execute(
        """
        UPDATE conflict SET placed_at = first.at
        FROM (
            SELECT organization_id, together, min(opened_at) AS at FROM conflict WHERE state = 'open' GROUP BY 1, 2
        ) AS first
        WHERE conflict.state = 'open' AND conflict.organization_id = first.organization_id
            AND conflict.together = first.together
        """
    )
    op.alter_column("conflict", "together", server_default=None)
    op.alter_column("conflict", "placed_at", nullable=False)
    op.drop_index("ix_conflict_list", "conflict")
    op.create_index(
        "ix_conflict_list",
        "conflict",
        ["organization_id", "state", "placed_at", "together", "opened_at", "id"],
    )
    op.create_index(
        "ix_conflict_together", "conflict", ["organization_id", "together"], postgresql_where=sa.text("state = 'open'")
    )
