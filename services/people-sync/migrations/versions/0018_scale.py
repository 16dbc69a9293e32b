"""A million members: indexes that lists, counts and searches read alone, and statistics of what goes together.

Every index of a big table is built beside the service's work (`servicekit.db.migrations.create_index`), before the one
that it replaces goes.

Revision ID: 0018
Revises: 0017
"""

import sqlalchemy as sa
from alembic import op

from servicekit.db.migrations import create_index, drop_index

revision = "0018"
down_revision = "0017"

_HERE = sa.text("deleted_at IS NULL")
_DELETED = sa.text("deleted_at IS NOT NULL")
_SEARCHED = sa.text(
    "(name_key || ' ' || coalesce(email_key, '') || ' ' || "
    "translate(coalesce(phone, ''), '+-(). /\u2010\u2011\u2013\u00a0', '')) gin_trgm_ops"
)
_BY_NAME = ["organization_id", "name_key", "id"]
_TRIGRAMS = {"postgresql_using": "gin", "postgresql_with": {"gin_pending_list_limit": "1024"}}


def upgrade() -> None:
    # Both are trusted: the owner of the database may add them.
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    op.execute("CREATE EXTENSION IF NOT EXISTS btree_gin")
    op.execute("ALTER TABLE run ADD COLUMN IF NOT EXISTS lists_gone_at timestamptz")
    # Without them a plan for any values takes a church's links for one row, and looks through all for each member.
    for table in ("link", "remote", "held_match"):
        op.execute(
            f"CREATE STATISTICS IF NOT EXISTS st_{table}_owner (dependencies, ndistinct) "
            f"ON organization_id, pco_organization_id FROM {table}"
        )
        op.execute(f"ANALYZE {table}")
    op.execute("CREATE STATISTICS IF NOT EXISTS st_change_run (dependencies, ndistinct) ON organization_id, run_id FROM change")
    op.execute("ANALYZE change")
    here = {"postgresql_where": _HERE}
    create_index("ix_member_here", "member", _BY_NAME, postgresql_include=["child", "active"], **here)
    create_index("ix_member_deleted", "member", _BY_NAME, postgresql_where=_DELETED)
    create_index("ix_member_search", "member", ["organization_id", _SEARCHED], **_TRIGRAMS, **here)
    drop_index("ix_member_name", "member")
    create_index("ix_family_here", "family", _BY_NAME, **here)
    create_index("ix_family_deleted", "family", ["organization_id", "id"], postgresql_where=_DELETED)
    operators = {"name_key": "gin_trgm_ops"}
    create_index(
        "ix_family_search", "family", ["organization_id", "name_key"], postgresql_ops=operators, **_TRIGRAMS, **here
    )
    drop_index("ix_family_name", "family")
    of_link = ["organization_id", "pco_organization_id", "kind", "state", "record_id"]
    create_index("ix_link_ended", "link", of_link, postgresql_where=sa.text("state IN ('gone', 'missing')"))
    create_index("ix_change_run", "change", ["run_id", "id"])
    create_index("ix_run_lists", "run", ["finished_at"], postgresql_where=sa.text("lists_gone_at IS NULL"))
    create_index("ix_run_over", "run", ["finished_at"], postgresql_where=sa.text("lists_gone_at IS NOT NULL"))
