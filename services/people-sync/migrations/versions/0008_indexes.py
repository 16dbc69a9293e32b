"""Two indexes: one finds the records of a run, the other open intents, whatever other churches and the history hold.

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
    """Replace the index of a run, and add the one of open intents."""
    op.drop_index("ix_remote_run", "remote")
    columns = ["run_id", "kind", "pco_id"]
    op.create_index("ix_remote_run", "remote", columns, postgresql_where=sa.text("run_id IS NOT NULL"))
    still_open = sa.text("state <> 'created'")
    op.create_index("ix_creation_open", "creation", ["organization_id", "of_record"], postgresql_where=still_open)
