"""Who answered which question with what, and when: of runs and of held matches.

Revision ID: 0017
Revises: 0016
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    # A version before this one inserts rows without them.
    op.add_column("run", sa.Column("answered", JSONB(), nullable=False, server_default=sa.text("'[]'")))
    op.add_column("held_match", sa.Column("answered_by_name", sa.Text(), nullable=True))
    op.add_column("held_match", sa.Column("same_as", sa.Uuid(), nullable=True))
