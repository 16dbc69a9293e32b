"""Our writes and their effects, field by field; the times of agreed values.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

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
