"""The tables of calendar-sync.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

from servicekit.db.migrations import create_servicekit_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_servicekit_tables()
    op.create_table(
        "calendar_connection",
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("pco_organization_id", sa.Text, nullable=False),
        sa.Column("pco_organization_name", sa.Text, nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", name="pk_calendar_connection"),
    )
    op.create_table(
        "church_settings",
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("poll_minutes", sa.Integer, nullable=False, server_default=sa.text("5")),
        sa.PrimaryKeyConstraint("organization_id", name="pk_church_settings"),
        sa.CheckConstraint("poll_minutes BETWEEN 1 AND 120", name="ck_church_settings_poll_minutes"),
    )
