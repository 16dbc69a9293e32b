"""A table counts how the decisions of each rule ended.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "rule_outcomes",
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("rule_id", sa.Text, nullable=False),
        sa.Column("applied", sa.Integer, nullable=False),
        sa.Column("overtaken", sa.Integer, nullable=False),
        sa.Column("not_needed", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "rule_id", name=op.f("pk_rule_outcomes")),
    )
    op.execute(
        """
        INSERT INTO rule_outcomes (organization_id, rule_id, applied, overtaken, not_needed)
        SELECT organization_id, rule_id, count(*) FILTER (WHERE outcome = 'applied'),
            count(*) FILTER (WHERE outcome = 'overtaken'), count(*) FILTER (WHERE outcome = 'not_needed')
        FROM decision WHERE rule_id IS NOT NULL AND outcome <> 'waiting' GROUP BY organization_id, rule_id
        """
    )
