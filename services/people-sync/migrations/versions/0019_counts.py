"""Narrow indexes that the numbers of a church are counted in.

Revision ID: 0019
Revises: 0018
"""

import sqlalchemy as sa

from servicekit.db.migrations import create_index

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    create_index("ix_member_count", "member", ["organization_id"], postgresql_where=sa.text("deleted_at IS NULL"))
    of_link = ["organization_id", "pco_organization_id"]
    create_index("ix_link_members", "link", of_link, postgresql_where=sa.text("kind = 'member'"))
