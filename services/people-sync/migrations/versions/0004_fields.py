"""What we know for good: our writes and effects field by field, agreed values' times, a mirror, the log of mergers.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from people_sync.domain.canonical import email_key, fold, name_key

revision = "0004"
down_revision = "0003"

# One row for each field that the note of a link's last write names; a membership is a field of its own. A note that names
# none is that of a person who was just made without contacts; without a note the last write was seen by a read since.
# What was answered a day ago is shown by every read.
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
        SELECT 'created', 'null', 'null' WHERE link.written_before = '{}' AND link.written_after IS NULL
    ) AS sent
    WHERE link.written_at > now() - interval '1 day' OR link.written_after IS NOT NULL
"""

# What had no answer when its run was interrupted may be under way as long as the process that sent it: counted from the
# takeover, as what a claim left behind. No job has this id.
_ABANDONED = """
    INSERT INTO claim (organization_id, record_id, job_id, fence)
    SELECT open.organization_id, record_id, uuid '00000000-0000-0000-0000-000000000000', 0
    FROM (
        SELECT organization_id, record_id FROM link JOIN link_write ON link_id = link.id WHERE answered_at IS NULL
        UNION
        SELECT organization_id, of_record FROM creation WHERE state = 'sent' AND of_record IS NOT NULL
    ) AS open
    WHERE organization_id IN (SELECT organization_id FROM job WHERE kind = 'people.run' AND finished_at IS NULL)
"""

# What is invisible (Unicode's category Cf) left spaces in the keys that records are looked up by.
_INVISIBLE = (
    "[\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001-\U000e007f]"
)
_BATCH = 1_000


def _make_keys_again() -> None:
    member = sa.table("member", *map(sa.column, ("id", "first_name", "last_name", "email", "name_key", "email_key")))
    family = sa.table("family", *map(sa.column, ("id", "name", "name_key")))
    texts = {member: (member.c.first_name, member.c.last_name, member.c.email), family: (family.c.name,)}
    for table, columns in texts.items():
        invisible = sa.or_(*(column.regexp_match(_INVISIBLE) for column in columns))
        rows = sa.select(table.c.id, *columns).where(invisible).order_by(table.c.id).limit(_BATCH)
        found = op.get_bind().execute(rows).all()
        while found:
            for row in found:
                op.get_bind().execute(table.update().where(table.c.id == row.id).values(**_keys(row)))
            found = op.get_bind().execute(rows.where(table.c.id > found[-1].id)).all()


def _keys(row: sa.Row[tuple[object, ...]]) -> dict[str, str | None]:
    if hasattr(row, "name"):
        return {"name_key": fold(row.name)}
    return {"name_key": name_key(row.first_name, row.last_name), "email_key": email_key(row.email)}


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
    op.execute(_ABANDONED)
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

    _make_keys_again()
