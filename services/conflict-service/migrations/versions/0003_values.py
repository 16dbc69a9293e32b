"""The values of a conflict have a version of their own.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("conflict", sa.Column("values_version", sa.Integer(), nullable=False, server_default="1"))
