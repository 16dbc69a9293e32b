"""Changes have an id of their own to be called by: the number counts the changes of all churches.

Revision ID: 0012
Revises: 0011
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    # Rewrites the table: each row gets an id of its own, also from a version that does not know of it.
    op.add_column(
        "effect",
        sa.Column("entry_id", postgresql.UUID(), server_default=sa.text("gen_random_uuid()"), nullable=False),
    )
