"""The tables of people-sync.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from servicekit.db.migrations import create_servicekit_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_servicekit_tables(jobs=True)
    op.execute(sa.schema.CreateSequence(sa.Sequence("creation_marker", start=1_000_000_000, maxvalue=2_147_483_647)))
    op.create_table(
        "change",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("record_id", sa.Uuid(), nullable=True),
        sa.Column("pco_id", sa.Text, nullable=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("here", sa.Text, nullable=False),
        sa.Column("there", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("cause", sa.Text, nullable=True),
        sa.Column("sentence", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("id", name=("pk_change")),
        sa.UniqueConstraint("run_id", "kind", "pco_id", name=("uq_change_run_id_kind_pco_id")),
        sa.UniqueConstraint("run_id", "kind", "record_id", name=("uq_change_run_id_kind_record_id")),
    )
    op.create_index("ix_change_run_outcome", "change", ["run_id", "outcome", "id"], unique=False)
    op.create_index(
        "ix_change_todo",
        "change",
        ["run_id", "kind", "id"],
        unique=False,
        postgresql_where=sa.text("here = 'planned' OR there = 'planned'"),
    )
    op.create_table(
        "conflict",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("record_id", sa.Uuid(), nullable=False),
        sa.Column("pco_id", sa.Text, nullable=False),
        sa.Column("fields", JSONB, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=("pk_conflict")),
    )
    op.create_index(
        "uq_conflict_open",
        "conflict",
        ["organization_id", "record_id"],
        unique=True,
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_table(
        "connection",
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("pco_organization_id", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("pco_person_id", sa.Text, nullable=False),
        sa.Column("country_code", sa.Text, nullable=True),
        sa.Column("full_sync_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cursor", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_run_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("organization_id", name=("pk_connection")),
    )
    op.create_table(
        "creation",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("pco_organization_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("record_id", sa.Uuid(), nullable=False),
        sa.Column("marker", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("look_after", sa.DateTime(timezone=True), nullable=True),
        sa.Column("pco_id", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("id", name=("pk_creation")),
        sa.UniqueConstraint("marker", name=("uq_creation_marker")),
        sa.UniqueConstraint(
            "organization_id",
            "pco_organization_id",
            "kind",
            "record_id",
            name=("uq_creation_organization_id_pco_organization_id_kind_record_id"),
        ),
    )
    op.create_table(
        "family",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("external_id", sa.Text, nullable=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("name_key", sa.Text, nullable=False),
        sa.Column("primary_contact_id", sa.Uuid(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=("pk_family")),
    )
    op.create_index("ix_family_name", "family", ["organization_id", "name_key", "id"], unique=False)
    op.create_index(
        "uq_family_external",
        "family",
        ["organization_id", "external_id"],
        unique=True,
        postgresql_where=sa.text("external_id IS NOT NULL"),
    )
    op.create_table(
        "held_match",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("pco_organization_id", sa.Text, nullable=False),
        sa.Column("pco_id", sa.Text, nullable=False),
        sa.Column("theirs", JSONB, nullable=False),
        sa.Column("candidates", JSONB, nullable=False),
        sa.Column("candidate_ids", ARRAY(sa.Text), nullable=False),
        sa.Column("reasons", JSONB, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("different_from", ARRAY(sa.Text), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("answered_by", sa.Text, nullable=True),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=("pk_held_match")),
        sa.UniqueConstraint(
            "organization_id",
            "pco_organization_id",
            "pco_id",
            name=("uq_held_match_organization_id_pco_organization_id_pco_id"),
        ),
    )
    op.create_index("ix_held_match_candidates", "held_match", ["candidate_ids"], unique=False, postgresql_using="gin")
    op.create_table(
        "history",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("record_id", sa.Uuid(), nullable=False),
        sa.Column("field", sa.Text, nullable=False),
        sa.Column("old", JSONB, nullable=False),
        sa.Column("new", JSONB, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("by_user_id", sa.Text, nullable=True),
        sa.Column("by_name", sa.Text, nullable=True),
        sa.Column("rule", sa.Text, nullable=True),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=("pk_history")),
    )
    op.create_index("ix_history_record", "history", ["record_id", "id"], unique=False)
    op.create_table(
        "link",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("pco_organization_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("record_id", sa.Uuid(), nullable=False),
        sa.Column("pco_id", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("agreed", JSONB, nullable=False),
        sa.Column("kept_different", JSONB, nullable=False),
        sa.Column("contacts", JSONB, nullable=False),
        sa.Column("remote_hash", sa.LargeBinary(), nullable=True),
        sa.Column("compared_version", sa.Integer(), nullable=False),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("written_before", JSONB, nullable=True),
        sa.Column("written_after", JSONB, nullable=True),
        sa.Column("gone_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("create_again", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=("pk_link")),
        sa.UniqueConstraint(
            "organization_id",
            "pco_organization_id",
            "kind",
            "pco_id",
            name=("uq_link_organization_id_pco_organization_id_kind_pco_id"),
        ),
        sa.UniqueConstraint(
            "organization_id",
            "pco_organization_id",
            "kind",
            "record_id",
            name=("uq_link_organization_id_pco_organization_id_kind_record_id"),
        ),
    )
    op.create_index("ix_link_record", "link", ["record_id"], unique=False)
    op.create_table(
        "member",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("external_id", sa.Text, nullable=True),
        sa.Column("first_name", sa.Text, nullable=False),
        sa.Column("last_name", sa.Text, nullable=False),
        sa.Column("birthdate", sa.Date(), nullable=True),
        sa.Column("gender", sa.Text, nullable=True),
        sa.Column("child", sa.Boolean(), nullable=False),
        sa.Column("email", sa.Text, nullable=True),
        sa.Column("phone", sa.Text, nullable=True),
        sa.Column("address", JSONB, nullable=True),
        sa.Column("name_key", sa.Text, nullable=False),
        sa.Column("email_key", sa.Text, nullable=True),
        sa.Column("active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=("pk_member")),
    )
    op.create_index(
        "ix_member_email",
        "member",
        ["organization_id", "email_key"],
        unique=False,
        postgresql_where=sa.text("email_key IS NOT NULL"),
    )
    op.create_index("ix_member_name", "member", ["organization_id", "name_key", "id"], unique=False)
    op.create_index(
        "uq_member_external",
        "member",
        ["organization_id", "external_id"],
        unique=True,
        postgresql_where=sa.text("external_id IS NOT NULL"),
    )
    op.create_table(
        "run",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("pco_organization_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("trigger", sa.Text, nullable=False),
        sa.Column("started_by", sa.Text, nullable=True),
        sa.Column("started_by_name", sa.Text, nullable=True),
        sa.Column("phase", sa.Text, nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=True),
        sa.Column("requests", sa.Integer(), nullable=False),
        sa.Column("counts", JSONB, nullable=False),
        sa.Column("question", JSONB, nullable=True),
        sa.Column("answers", JSONB, nullable=False),
        sa.Column("waiting_for", sa.Text, nullable=True),
        sa.Column("rate_per_second", sa.Double(), nullable=True),
        sa.Column("eta_low", sa.Integer(), nullable=True),
        sa.Column("eta_high", sa.Integer(), nullable=True),
        sa.Column("message", sa.Text, nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=("pk_run")),
    )
    op.create_index("ix_run_organization", "run", ["organization_id", "created_at", "id"], unique=False)
    op.create_index(
        "uq_run_in_progress",
        "run",
        ["organization_id"],
        unique=True,
        postgresql_where=sa.text("state IN ('queued', 'running', 'waiting', 'stopping')"),
    )
    op.create_table(
        "settings",
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("first_match", sa.Text, nullable=True),
        sa.Column("merge_different_fields", sa.Boolean(), nullable=False),
        sa.Column("threshold_percent", sa.Integer(), nullable=False),
        sa.Column("threshold_minimum", sa.Integer(), nullable=False),
        sa.Column("schedule_hours", sa.Integer(), nullable=False),
        sa.Column("inactivate_deleted", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", name=("pk_settings")),
    )
    op.create_table(
        "staged",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("pco_id", sa.Text, nullable=False),
        sa.Column("snapshot", JSONB, nullable=True),
        sa.Column("remote_hash", sa.LargeBinary(), nullable=True),
        sa.Column("email_keys", ARRAY(sa.Text), nullable=False),
        sa.Column("name_key", sa.Text, nullable=True),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "kind", "pco_id", name=("pk_staged")),
    )
    op.create_index(
        "ix_staged_email",
        "staged",
        ["email_keys"],
        unique=False,
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
    )
    op.create_table(
        "family_member",
        sa.Column("family_id", sa.Uuid(), nullable=False),
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["family_id"], ["family.id"], name=("fk_family_member_family_id_family")),
        sa.ForeignKeyConstraint(["member_id"], ["member.id"], name=("fk_family_member_member_id_member")),
        sa.PrimaryKeyConstraint("family_id", "member_id", name=("pk_family_member")),
    )
    op.create_index("ix_family_member_member", "family_member", ["member_id"], unique=False)
