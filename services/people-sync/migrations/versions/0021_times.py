"""Planning Center's times of what was last read, so that a later read which shows an earlier state is known as such.

Revision ID: 0021
Revises: 0020
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    op.add_column("remote", sa.Column("times", postgresql.JSONB(), nullable=True))
