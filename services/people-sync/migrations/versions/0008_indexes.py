"""Indexes for what a run lets go of, and for intents that are open: neither grows with other churches or the history.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The same rows, found by less."""
    op.drop_index("ix_remote_run", "remote")
    columns = ["run_id", "kind", "pco_id"]
    op.create_index("ix_remote_run", "remote", columns, postgresql_where=sa.text("run_id IS NOT NULL"))
    still_open = sa.text("state <> 'created'")
    op.create_index("ix_creation_open", "creation", ["organization_id", "of_record"], postgresql_where=still_open)
