"""The private iCal feed of a church."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_AT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "feed",
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("key", sa.LargeBinary, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created_at", _AT, nullable=False, server_default=sa.func.now()),
        sa.Column("created_by_name", sa.Text, nullable=False),
        sa.Column("last_read_at", _AT),
        sa.Column("revoked_at", _AT),
        sa.PrimaryKeyConstraint("organization_id", name=op.f("pk_feed")),
    )
    op.create_index("uq_feed_key", "feed", ["key"], unique=True)
    op.add_column("event", sa.Column("handed_off", sa.Boolean, nullable=False, server_default=sa.text("false")))
    op.create_index(
        "ix_event_feed",
        "event",
        ["organization_id", "last_ends_at"],
        postgresql_include=["first_starts_at", "id", "version", "occurrence_count", "time_zone"],
        postgresql_where=sa.text("deleted_at IS NULL AND handed_off"),
    )
