"""Whose conflicts they are, and what was told of their records.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    for column in (
        sa.Column("pco_organization_id", sa.Text, server_default="", nullable=False),
        sa.Column("name", sa.Text, server_default="", nullable=False),
        sa.Column("family_ids", ARRAY(sa.Text), server_default="{}", nullable=False),
    ):
        op.add_column("conflict", column)
        op.alter_column("conflict", column.name, server_default=None)
    op.execute(
        "UPDATE conflict SET pco_organization_id = connection.pco_organization_id "
        "FROM connection WHERE connection.organization_id = conflict.organization_id"
    )
