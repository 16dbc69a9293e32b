"""When each link was last read, and what of a read could not be held."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("event_link", sa.Column("read_at", sa.DateTime(timezone=True)))
