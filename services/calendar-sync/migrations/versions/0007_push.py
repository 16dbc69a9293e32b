"""Events that are created in Planning Center, or waited for there."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0007"
down_revision = "0006"

_AT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("calendar_connection", sa.Column("may_create", sa.Boolean))
    op.add_column("calendar_connection", sa.Column("may_create_at", _AT))
    op.add_column(
        "event_link", sa.Column("from_feed", sa.Boolean, nullable=False, server_default=sa.text("false"))
    )
    op.create_table(
        "push",
        sa.Column("event_id", sa.Uuid, nullable=False),
        sa.Column("pco_organization_id", sa.Text, nullable=False),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("asked_at", _AT, nullable=False),
        sa.Column("by_user_id", sa.Text, nullable=False),
        sa.Column("by_name", sa.Text, nullable=False),
        sa.Column("looked_at", _AT, nullable=False),
        sa.Column("note", sa.Text),
        sa.PrimaryKeyConstraint("event_id", "pco_organization_id", name=op.f("pk_push")),
        sa.ForeignKeyConstraint(["event_id"], ["event.id"], name=op.f("fk_push_event_id_event")),
    )
    op.create_index(
        "ix_push_waiting", "push", ["organization_id", "looked_at"], postgresql_where=sa.text("state = 'waiting'")
    )
    op.create_table(
        "creation",
        sa.Column("id", sa.BigInteger, sa.Identity(), nullable=False),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("pco_organization_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("record_id", sa.Uuid, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("content", JSONB),
        sa.Column("sent_at", _AT),
        sa.Column("look_after", _AT),
        sa.Column("pco_id", sa.Text),
        sa.Column("event_id", sa.Uuid),
        sa.Column("slipped", JSONB, nullable=False, server_default=sa.text("'[]'")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_creation")),
        sa.UniqueConstraint(
            "organization_id",
            "pco_organization_id",
            "kind",
            "record_id",
            name=op.f("uq_creation_organization_id_pco_organization_id_kind_record_id"),
        ),
    )
    op.create_index("ix_creation_event", "creation", ["event_id"])
