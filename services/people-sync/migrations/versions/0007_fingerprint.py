"""What an answer looked like when it was last read, so that an unchanged record need not be read again.

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Without a fingerprint a record is read once, and has one then."""
    op.add_column("remote", sa.Column("fingerprint", sa.LargeBinary))
