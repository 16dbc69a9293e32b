"""A filter by the side that made the newest edit.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    # The service does not know when Planning Center's side of an older conflict was edited: the next sync tells it.
    op.add_column("conflict", sa.Column("newer", sa.Text, nullable=True))
    op.drop_index("ix_conflict_count", "conflict")
    op.create_index(
        "ix_conflict_count",
        "conflict",
        ["organization_id"],
        postgresql_include=["field_names", "child", "one_side_empty", "opened_at", "newer"],
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_index(
        "ix_conflict_newer",
        "conflict",
        ["organization_id", "newer", "placed_at", "together", "opened_at", "id"],
        postgresql_where=sa.text("state = 'open' AND newer IS NOT NULL"),
    )
