"""Links with Planning Center Calendar, their checks and syncs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from servicekit.db.migrations import create_jobs

revision = "0005"
down_revision = "0004"

_AT = sa.DateTime(timezone=True)
_QUEUED = "state = 'queued'"


def upgrade() -> None:
    create_jobs()
    connection = "calendar_connection"
    for column in ("next_run_at", "next_poll_at", "checked_at"):
        op.add_column(connection, sa.Column(column, _AT))
    op.add_column(connection, sa.Column("role_missing", sa.Boolean, nullable=False, server_default=sa.text("false")))
    op.add_column(connection, sa.Column("density", sa.Float))
    op.create_index(
        "ix_calendar_connection_poll",
        connection,
        ["next_poll_at"],
        postgresql_where=sa.text("state = 'connected'"),
    )
    # Connections from before links have no zone yet: their first check reads it.
    op.execute("UPDATE calendar_connection SET next_poll_at = now() WHERE state = 'connected'")
    op.add_column("event", sa.Column("listed", sa.Boolean, nullable=False, server_default=sa.text("false")))
    op.add_column("occurrence", sa.Column("pco_instance_id", sa.Text))
    op.create_index(
        "uq_occurrence_pco",
        "occurrence",
        ["event_id", "pco_instance_id"],
        unique=True,
        postgresql_where=sa.text("pco_instance_id IS NOT NULL"),
    )
    op.create_table(
        "event_link",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("pco_organization_id", sa.Text, nullable=False),
        sa.Column("event_id", sa.Uuid, nullable=False),
        sa.Column("pco_event_id", sa.Text, nullable=False),
        sa.Column("pco_instance_id", sa.Text),
        sa.Column("title_there", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("linked_at", _AT, nullable=False),
        sa.Column("linked_by_name", sa.Text),
        sa.Column("missing_since", _AT),
        sa.Column("look_after", _AT),
        sa.Column("gone_at", _AT),
        sa.Column("note", sa.Text),
        sa.Column("kept", JSONB, nullable=False, server_default=sa.text("'[]'")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event_link")),
        sa.ForeignKeyConstraint(["event_id"], ["event.id"], name=op.f("fk_event_link_event_id_event")),
        sa.UniqueConstraint("event_id", "pco_organization_id", name=op.f("uq_event_link_event_id_pco_organization_id")),
    )
    op.create_index(
        "ix_event_link_owner", "event_link", ["organization_id", "pco_organization_id", "state", "event_id"]
    )
    op.create_index(
        "uq_event_link_target",
        "event_link",
        ["organization_id", "pco_organization_id", "pco_event_id", sa.text("coalesce(pco_instance_id, '')")],
        unique=True,
        postgresql_where=sa.text("state = 'linked'"),
    )
    _runs()
    op.create_table(
        "refresh",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("pco_organization_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("record_id", sa.Uuid),
        sa.Column("pco_id", sa.Text),
        sa.Column("reasons", ARRAY(sa.Text), nullable=False),
        sa.Column("urgent", sa.Boolean, nullable=False),
        sa.Column("not_before", _AT, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("outcome", sa.Text),
        sa.Column("sentence", sa.Text),
        sa.Column("requested_at", _AT, nullable=False),
        sa.Column("finished_at", _AT),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refresh")),
    )
    owner = ["organization_id", "pco_organization_id", "kind"]
    for name, column, condition in (
        ("uq_refresh_record", "record_id", "record_id IS NOT NULL"),
        ("uq_refresh_pco", "pco_id", "record_id IS NULL"),
    ):
        where = sa.text(f"{_QUEUED} AND {condition}")
        op.create_index(name, "refresh", [*owner, column], unique=True, postgresql_where=where)
    op.create_index(
        "ix_refresh_due", "refresh", ["organization_id", "not_before"], postgresql_where=sa.text(_QUEUED)
    )
    op.create_index("ix_refresh_finished", "refresh", ["finished_at"])


def _runs() -> None:
    op.create_table(
        "run",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("pco_organization_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("purpose", sa.Text, nullable=False, server_default=sa.text("'sync'")),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("trigger", sa.Text, nullable=False),
        sa.Column("started_by", sa.Text),
        sa.Column("started_by_name", sa.Text),
        sa.Column("phase", sa.Text, nullable=False),
        sa.Column("done", sa.Integer, nullable=False),
        sa.Column("total", sa.Integer),
        sa.Column("requests", sa.Integer, nullable=False),
        sa.Column("counts", JSONB, nullable=False),
        sa.Column("question", JSONB),
        sa.Column("asked_at", _AT),
        sa.Column("answers", JSONB, nullable=False),
        sa.Column("answered", JSONB, nullable=False, server_default=sa.text("'[]'")),
        sa.Column("waiting_for", sa.Text),
        sa.Column("rate_per_second", sa.Float),
        sa.Column("eta_low", sa.Integer),
        sa.Column("eta_high", sa.Integer),
        sa.Column("message", sa.Text),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_at", _AT, nullable=False, server_default=sa.func.now()),
        sa.Column("started_at", _AT),
        sa.Column("finished_at", _AT),
        sa.Column("lists_gone_at", _AT),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
    )
    op.create_index("ix_run_organization", "run", ["organization_id", "created_at", "id"])
    op.create_index(
        "uq_run_in_progress",
        "run",
        ["organization_id"],
        unique=True,
        postgresql_where=sa.text("state IN ('queued', 'running', 'waiting', 'stopping')"),
    )
    op.create_index("ix_run_lists", "run", ["finished_at"], postgresql_where=sa.text("lists_gone_at IS NULL"))
    op.create_index("ix_run_over", "run", ["finished_at"], postgresql_where=sa.text("lists_gone_at IS NOT NULL"))
    op.create_table(
        "change",
        sa.Column("id", sa.BigInteger, sa.Identity(), nullable=False),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("run_id", sa.Uuid, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("record_id", sa.Uuid),
        sa.Column("pco_id", sa.Text),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("cause", sa.Text),
        sa.Column("sentence", sa.Text),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_change")),
        sa.UniqueConstraint("run_id", "kind", "record_id", name=op.f("uq_change_run_id_kind_record_id")),
        sa.UniqueConstraint("run_id", "kind", "pco_id", name=op.f("uq_change_run_id_kind_pco_id")),
    )
    op.create_index("ix_change_run", "change", ["run_id", "id"])
    op.create_index("ix_change_run_outcome", "change", ["run_id", "outcome", "id"])
