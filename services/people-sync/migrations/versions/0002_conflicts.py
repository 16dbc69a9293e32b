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
    # With defaults, since processes of the version before may still open conflicts: the next run opens those anew.
    op.add_column("conflict", sa.Column("pco_organization_id", sa.Text, server_default="", nullable=False))
    op.add_column("conflict", sa.Column("name", sa.Text, server_default="", nullable=False))
    op.add_column("conflict", sa.Column("family_ids", ARRAY(sa.Text), server_default="{}", nullable=False))
    op.execute(
        "UPDATE conflict SET pco_organization_id = link.pco_organization_id FROM link WHERE link.kind = conflict.kind "
        "AND link.record_id = conflict.record_id AND link.pco_id = conflict.pco_id"
    )
    op.execute(
        "UPDATE link SET remote_hash = NULL FROM conflict "
        "WHERE conflict.state = 'open' AND link.kind = conflict.kind AND link.record_id = conflict.record_id"
    )
