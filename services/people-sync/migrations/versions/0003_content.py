"""What was sent to be created, until its answer is known; every way a name may be written.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("creation", sa.Column("content", JSONB))
    op.add_column("staged", sa.Column("name_keys", ARRAY(sa.Text), server_default="{}", nullable=False))
    op.execute("UPDATE staged SET name_keys = ARRAY[name_key] WHERE name_key <> ''")
    op.drop_column("staged", "name_key")
