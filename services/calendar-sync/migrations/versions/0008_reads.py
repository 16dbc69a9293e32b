"""When each link was last read."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("event_link", sa.Column("read_at", sa.DateTime(timezone=True)))
