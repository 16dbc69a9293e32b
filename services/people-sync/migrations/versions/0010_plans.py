"""Plans that are shown before they are carried out, records kept out of the sync, members joined.

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("run", sa.Column("purpose", sa.Text(), nullable=False, server_default="sync"))
    op.add_column("run", sa.Column("subject", JSONB, nullable=True))
    op.add_column("run", sa.Column("asked_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("change", sa.Column("plan", JSONB, nullable=True))
    op.add_column("change", sa.Column("planned", sa.Text(), nullable=True))
    op.add_column(
        "change", sa.Column("may_be_mailed", sa.Boolean(), nullable=False, server_default=sa.text("false"))
    )
    op.create_index(
        "ix_change_run_planned",
        "change",
        ["run_id", "planned", "id"],
        postgresql_where=sa.text("planned IS NOT NULL"),
    )
    op.add_column("shown", sa.Column("digest", sa.Text(), nullable=False, server_default=""))
    op.add_column("shown", sa.Column("name", sa.Text(), nullable=False, server_default=""))
    op.add_column("shown", sa.Column("record_id", sa.Uuid(), nullable=True))
    op.add_column("shown", sa.Column("pco_id", sa.Text(), nullable=True))
    op.create_table(
        "kept_out",
        sa.Column("organization_id", sa.Text(), primary_key=True),
        sa.Column("kind", sa.Text(), primary_key=True),
        sa.Column("record_id", sa.Uuid(), primary_key=True),
        sa.Column("family_id", sa.Uuid(), nullable=True),
        sa.Column("by_user_id", sa.Text(), nullable=False),
        sa.Column("by_name", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "joined",
        sa.Column("organization_id", sa.Text(), primary_key=True),
        sa.Column("member_id", sa.Uuid(), primary_key=True),
        sa.Column("into_id", sa.Uuid(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("by_user_id", sa.Text(), nullable=False),
        sa.Column("by_name", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_joined_into", "joined", ["into_id"])
    op.create_index(
        "uq_joined_external",
        "joined",
        ["organization_id", "external_id"],
        unique=True,
        postgresql_where=sa.text("external_id IS NOT NULL"),
    )
    op.add_column("link", sa.Column("kept_two", sa.Boolean(), nullable=False, server_default=sa.text("false")))
    op.create_index(
        "ix_link_merged",
        "link",
        ["organization_id", "pco_organization_id", "merged_into"],
        postgresql_where=sa.text("merged_into IS NOT NULL"),
    )
