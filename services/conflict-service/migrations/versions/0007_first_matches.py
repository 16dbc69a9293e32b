"""Decisions about what was never agreed on teach no rule.

Revision ID: 0007
Revises: 0006
"""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.execute(
        """
        UPDATE decision SET kind = NULL
        WHERE kind IS NOT NULL AND EXISTS (
            SELECT FROM jsonb_array_elements(fields) AS field
            WHERE field ->> 'field' <> 'active' AND (field ->> 'base_known')::boolean IS FALSE
        )
        """
    )
