"""All tables of the sample service."""

import sqlalchemy as sa
from alembic import op

from servicekit.db.migrations import create_kept_answers, create_servicekit_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_servicekit_tables(jobs=True)
    create_kept_answers()
    op.create_table(
        "note",
        sa.Column("organization_id", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
    )
    op.create_table(
        "effect",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
    )
    op.create_table("parent", sa.Column("id", sa.Text, primary_key=True))
    op.create_table(
        "child",
        sa.Column(
            "id",
            sa.Text,
            sa.ForeignKey("parent.id", deferrable=True, initially="DEFERRED"),
            primary_key=True,
        ),
    )
