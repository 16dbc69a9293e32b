"""Events, their occurrences, and every change of them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0004"
down_revision = "0003"

_HERE = sa.text("deleted_at IS NULL")
_AT = sa.DateTime(timezone=True)


def upgrade() -> None:
    # Both are trusted: the owner of the database may add them.
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    op.execute("CREATE EXTENSION IF NOT EXISTS btree_gin")
    op.add_column("calendar_connection", sa.Column("time_zone", sa.Text))
    op.create_table(
        "event",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("external_id", sa.Text),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("title_key", sa.Text, nullable=False),
        sa.Column("location", sa.Text),
        sa.Column("description", sa.Text),
        sa.Column("starts_at", _AT, nullable=False),
        sa.Column("ends_at", _AT, nullable=False),
        sa.Column("first_day", sa.Date),
        sa.Column("last_day", sa.Date),
        sa.Column("time_zone", sa.Text, nullable=False),
        sa.Column("recurrence", sa.Text),
        sa.Column("first_starts_at", _AT, nullable=False),
        sa.Column("last_ends_at", _AT, nullable=False),
        sa.Column("occurrence_count", sa.Integer, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_at", _AT, nullable=False, server_default=sa.func.now()),
        sa.Column("updated_at", _AT, nullable=False, server_default=sa.func.now()),
        sa.Column("deleted_at", _AT),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event")),
    )
    op.create_index(
        "uq_event_external",
        "event",
        ["organization_id", "external_id"],
        unique=True,
        postgresql_where=sa.text("external_id IS NOT NULL"),
    )
    op.create_index("ix_event_here", "event", ["organization_id", "title_key", "id"], postgresql_where=_HERE)
    op.create_index(
        "ix_event_search",
        "event",
        ["organization_id", "title_key"],
        postgresql_using="gin",
        postgresql_ops={"title_key": "gin_trgm_ops"},
        postgresql_with={"gin_pending_list_limit": "1024"},
        postgresql_where=_HERE,
    )
    op.create_table(
        "occurrence",
        sa.Column("event_id", sa.Uuid, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("starts_at", _AT, nullable=False),
        sa.Column("ends_at", _AT, nullable=False),
        sa.Column("first_day", sa.Date),
        sa.Column("last_day", sa.Date),
        sa.Column("title", sa.Text),
        sa.Column("location", sa.Text),
        sa.Column("moved", sa.Boolean, nullable=False),
        sa.Column("cancelled", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("event_id", "key", name=op.f("pk_occurrence")),
        sa.ForeignKeyConstraint(["event_id"], ["event.id"], name=op.f("fk_occurrence_event_id_event")),
    )
    by_start = ["organization_id", "starts_at", "event_id", "key"]
    op.create_index("ix_occurrence_start", "occurrence", by_start, postgresql_where=sa.text("NOT cancelled"))
    op.create_index(
        "ix_occurrence_long",
        "occurrence",
        by_start,
        postgresql_where=sa.text("NOT cancelled AND ends_at - starts_at > interval '2 days'"),
    )
    op.create_table(
        "effect",
        sa.Column("id", sa.BigInteger, sa.Identity(), nullable=False),
        sa.Column("entry_id", sa.Uuid, nullable=False, server_default=sa.func.gen_random_uuid()),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("cause_id", sa.Uuid),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("record_id", sa.Uuid, nullable=False),
        sa.Column("side", sa.Text, nullable=False),
        sa.Column("field", sa.Text, nullable=False),
        sa.Column("before", JSONB, nullable=False),
        sa.Column("after", JSONB, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("by_user_id", sa.Text),
        sa.Column("by_name", sa.Text),
        sa.Column("rule", sa.Text),
        sa.Column("at", _AT, nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_effect")),
    )
    op.create_index("ix_effect_record", "effect", ["record_id", "id"])
    op.create_index("ix_effect_cause", "effect", ["cause_id", "id"], postgresql_where=sa.text("cause_id IS NOT NULL"))
