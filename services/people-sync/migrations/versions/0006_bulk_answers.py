"""A bulk answer to held matches; how many candidates are not named; who may be mailed;
a conflict's values have a version of their own.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("held_match", sa.Column("more", sa.Integer(), nullable=False, server_default="0"))
    # Until now a sentence alone said it.
    op.execute(
        """
        UPDATE held_match SET more = said.more FROM (
            SELECT id, COALESCE((regexp_match(sentence, '^And ([0-9]{1,9}) more members here'))[1]::int, 1) AS more
            FROM held_match, jsonb_array_elements_text(reasons) AS sentence
            WHERE sentence ~ '^And ([0-9]{1,9} more members|one more member) here'
        ) AS said WHERE said.id = held_match.id
        """
    )
    op.add_column("conflict", sa.Column("values_version", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("remote", sa.Column("login", sa.Boolean(), nullable=True))
    op.create_table(
        "held_bulk",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("pco_organization_id", sa.Text, nullable=False),
        sa.Column("answer", sa.Text, nullable=False),
        sa.Column("held_ids", ARRAY(sa.Uuid()), nullable=False),
        sa.Column("versions", ARRAY(sa.Integer()), nullable=False),
        sa.Column("names", ARRAY(sa.Text), nullable=False),
        sa.Column("left_out", sa.Integer(), nullable=False),
        sa.Column("may_be_mailed", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("skipped", sa.Integer(), nullable=False),
        sa.Column("answered_by", sa.Text, nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_held_bulk"),
    )
    op.create_index("ix_held_bulk_created", "held_bulk", ["created_at"])
    op.create_table(
        "held_skipped",
        sa.Column("bulk_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("sentence", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("bulk_id", "position", name="pk_held_skipped"),
    )
