"""Proof of sync: when the next nightly comparison of everybody is due.

Revision ID: 0011
Revises: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("connection", sa.Column("time_zone", sa.Text(), nullable=True))
    op.add_column("connection", sa.Column("next_proof_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_connection_proof",
        "connection",
        ["next_proof_at"],
        postgresql_where=sa.text("state = 'connected' AND mirrored"),
    )
    op.create_index(
        "ix_run_proof",
        "run",
        ["organization_id", "created_at", "id"],
        postgresql_where=sa.text("purpose = 'proof' AND state = 'done'"),
    )
