"""The conflict of a record is found by an index.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_index("ix_conflict_record", "conflict", ["organization_id", sa.text("(record ->> 'id')")])
    # Without statistics of the expression PostgreSQL takes walking the list to be quicker.
    op.execute("ANALYZE conflict")
