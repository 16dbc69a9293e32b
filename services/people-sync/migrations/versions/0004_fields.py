"""What we know for good: our writes and effects field by field, agreed values' times, a mirror, the log of mergers.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0004"
down_revision = "0003"

# One row for each field that the note of a link's last write names; a membership is a field of its own.
_CARRY_OVER = """
    INSERT INTO link_write (link_id, field, before, after, announced_at, answered_at)
    SELECT link.id, sent.field, sent.before, sent.after, link.written_at,
        CASE WHEN link.written_after IS NULL THEN link.written_at END
    FROM link CROSS JOIN LATERAL (
        SELECT key AS field, coalesce(link.written_before -> key, 'null') AS before,
            coalesce(link.written_after -> key, link.agreed -> key, 'null') AS after
        FROM (
            SELECT jsonb_object_keys(coalesce(link.written_before, '{}') || coalesce(link.written_after, '{}')) AS key
        ) AS keys
        WHERE key NOT IN ('joined', 'left')
        UNION ALL
        SELECT 'member:' || member_id, 'false', 'true'
        FROM jsonb_array_elements_text(
            coalesce(link.written_after -> 'joined', link.written_before -> 'joined', '[]')
        ) AS joined (member_id)
        UNION ALL
        SELECT 'member:' || member_id, 'true', 'false'
        FROM jsonb_array_elements_text(
            coalesce(link.written_after -> 'left', link.written_before -> 'left', '[]')
        ) AS gone (member_id)
        UNION ALL
        SELECT 'created', 'null', 'null' WHERE link.written_before IS NULL
    ) AS sent
    WHERE link.written_at IS NOT NULL
"""


def upgrade() -> None:
    op.create_table(
        "link_write",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("link_id", sa.BigInteger(), nullable=False),
        sa.Column("field", sa.Text, nullable=False),
        sa.Column("before", JSONB, nullable=False),
        sa.Column("after", JSONB, nullable=False),
        sa.Column("announced_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_link_write"),
        sa.ForeignKeyConstraint(["link_id"], ["link.id"], name="fk_link_write_link_id_link", ondelete="CASCADE"),
    )
    op.create_index("ix_link_write_link", "link_write", ["link_id"])
    op.execute(_CARRY_OVER)
    for column in ("written_at", "written_before", "written_after"):
        op.drop_column("link", column)
    op.add_column("link", sa.Column("agreed_at", JSONB, nullable=False, server_default="{}"))
    op.alter_column("link", "agreed_at", server_default=None)

    for column in ("missing_since", "merged_into"):
        type_ = sa.Text if column == "merged_into" else sa.DateTime(timezone=True)
        op.add_column("link", sa.Column(column, type_, nullable=True))

    # What an interrupted run has staged is read again.
    op.drop_table("staged")
    op.execute("UPDATE job SET checkpoint = NULL WHERE kind = 'people.run' AND finished_at IS NULL")
    op.execute(
        "DELETE FROM change USING run WHERE change.run_id = run.id AND run.finished_at IS NULL"
        " AND (here = 'planned' OR there = 'planned')"
    )
    op.create_table(
        "remote",
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("pco_organization_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("pco_id", sa.Text, nullable=False),
        sa.Column("snapshot", JSONB, nullable=True),
        sa.Column("remote_hash", sa.LargeBinary, nullable=True),
        sa.Column("email_keys", ARRAY(sa.Text), nullable=False),
        sa.Column("name_keys", ARRAY(sa.Text), nullable=False),
        sa.Column("keys", ARRAY(sa.BigInteger), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("unread", JSONB, nullable=True),
        sa.Column("again", sa.Boolean(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.PrimaryKeyConstraint("organization_id", "pco_organization_id", "kind", "pco_id", name="pk_remote"),
    )
    op.create_index("ix_remote_keys", "remote", ["keys"], postgresql_using="gin", postgresql_with={"fastupdate": "off"})
    op.create_index(
        "ix_remote_run", "remote", ["run_id", "kind", "pco_id"], postgresql_where=sa.text("snapshot IS NOT NULL")
    )
    op.create_index("ix_remote_again", "remote", ["organization_id", "kind"], postgresql_where=sa.text("again"))
    op.create_table(
        "sighting",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("pco_ids", ARRAY(sa.Text), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sighting"),
    )
    op.create_index("ix_sighting_run", "sighting", ["run_id", "kind"])
    op.create_table(
        "alias",
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("pco_organization_id", sa.Text, nullable=False),
        sa.Column("removed_id", sa.Text, nullable=False),
        sa.Column("kept_id", sa.Text, nullable=False),
        sa.Column("merged_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "pco_organization_id", "removed_id", name="pk_alias"),
    )
    op.create_table(
        "shown",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "kind", "key", "outcome", name="pk_shown"),
    )
    op.create_table(
        "claim",
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("record_id", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "record_id", name="pk_claim"),
    )
    op.create_table(
        "refresh",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("pco_organization_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("record_id", sa.Uuid(), nullable=True),
        sa.Column("pco_id", sa.Text, nullable=True),
        sa.Column("reasons", ARRAY(sa.Text), nullable=False),
        sa.Column("urgent", sa.Boolean(), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.Text, nullable=True),
        sa.Column("sentence", sa.Text, nullable=True),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_refresh"),
    )
    record = ["organization_id", "pco_organization_id", "kind"]
    op.create_index(
        "uq_refresh_record",
        "refresh",
        [*record, "record_id"],
        unique=True,
        postgresql_where=sa.text("state = 'queued' AND record_id IS NOT NULL"),
    )
    op.create_index(
        "uq_refresh_pco",
        "refresh",
        [*record, "pco_id"],
        unique=True,
        postgresql_where=sa.text("state = 'queued' AND record_id IS NULL"),
    )
    op.create_index(
        "ix_refresh_due", "refresh", ["organization_id", "not_before"], postgresql_where=sa.text("state = 'queued'")
    )
    op.create_index("ix_refresh_finished", "refresh", ["finished_at"])
    op.add_column("creation", sa.Column("of_record", sa.Uuid(), nullable=True))
    op.execute("UPDATE creation SET of_record = record_id WHERE kind <> 'membership'")
    op.add_column("connection", sa.Column("merger_cursor", sa.DateTime(timezone=True), nullable=True))
    op.add_column("settings", sa.Column("inactivate_since", sa.DateTime(timezone=True), nullable=True))
    op.execute("UPDATE settings SET inactivate_since = '1970-01-01T00:00:00Z' WHERE inactivate_deleted")
    op.add_column("connection", sa.Column("caught_up", sa.DateTime(timezone=True), nullable=True))
    op.add_column("connection", sa.Column("mirrored", sa.Boolean(), nullable=False, server_default="false"))
    op.execute(sa.schema.DropSequence(sa.Sequence("creation_marker")))

    op.rename_table("history", "effect")
    op.execute("ALTER TABLE effect RENAME CONSTRAINT pk_history TO pk_effect")
    op.execute("ALTER INDEX ix_history_record RENAME TO ix_effect_record")
    for before, after in (("old", "before"), ("new", "after"), ("run_id", "cause_id"), ("changed_at", "at")):
        op.alter_column("effect", before, new_column_name=after)
    op.add_column("effect", sa.Column("side", sa.Text, nullable=False, server_default="here"))
    op.add_column("effect", sa.Column("cause", sa.Text, nullable=False, server_default="edit"))
    op.execute("UPDATE effect SET cause = 'run' WHERE cause_id IS NOT NULL")
    # What the choice for first matches overwrote there was noted with the record here.
    op.execute("UPDATE effect SET side = 'there' WHERE by = 'rule'")
    for column in ("side", "cause"):
        op.alter_column("effect", column, server_default=None)
    op.create_index(
        "ix_effect_cause", "effect", ["cause_id", "id"], postgresql_where=sa.text("cause_id IS NOT NULL")
    )
