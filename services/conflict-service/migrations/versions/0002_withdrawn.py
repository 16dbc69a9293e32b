"""Conflicts that were withdrawn.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    name = op.f("ck_conflict_state")
    op.drop_constraint(name, "conflict")
    op.create_check_constraint(
        name, "conflict", "state IN ('open', 'resolved', 'agreed_elsewhere', 'withdrawn')"
    )
