"""The tables of auth-service.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from servicekit.db.migrations import create_servicekit_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_servicekit_tables()
    op.execute(sa.schema.CreateSequence(sa.Sequence("token_generation")))
    op.create_table(
        "pco_binding",
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("pco_organization_id", sa.Text, nullable=False),
        sa.Column("pco_organization_name", sa.Text, nullable=False),
        sa.Column("in_use", sa.Boolean, nullable=False),
        sa.Column("one_grant", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.PrimaryKeyConstraint("organization_id", name="pk_pco_binding"),
    )
    op.create_index(
        "uq_pco_binding_in_use",
        "pco_binding",
        ["pco_organization_id"],
        unique=True,
        postgresql_where=sa.text("in_use"),
    )
    op.create_table(
        "oauth_grant",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("pco_person_id", sa.Text, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("access_token", sa.LargeBinary, nullable=False),
        sa.Column("refresh_token", sa.LargeBinary, nullable=False),
        sa.Column("token_generation", sa.BigInteger, nullable=False),
        sa.Column("granted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("refresh_expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("refresh_started_at", sa.DateTime(timezone=True)),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="pk_oauth_grant"),
    )
    op.create_index("ix_oauth_grant_organization_id", "oauth_grant", ["organization_id"])
    op.create_index(
        "ix_oauth_grant_refresh_expires_at",
        "oauth_grant",
        ["refresh_expires_at"],
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "connection",
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("product", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("grant_id", sa.Uuid),
        sa.Column("pco_organization_id", sa.Text, nullable=False),
        sa.Column("pco_organization_name", sa.Text, nullable=False),
        sa.Column("pco_person_id", sa.Text, nullable=False),
        sa.Column("pco_person_name", sa.Text, nullable=False),
        sa.Column("connected_by_id", sa.Text, nullable=False),
        sa.Column("connected_by_name", sa.Text, nullable=False),
        sa.Column("connected_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text),
        sa.PrimaryKeyConstraint("organization_id", "product", name="pk_connection"),
        sa.ForeignKeyConstraint(["grant_id"], ["oauth_grant.id"], name="fk_connection_grant_id_oauth_grant"),
        sa.CheckConstraint("product IN ('people', 'calendar')", name="ck_connection_product"),
        sa.CheckConstraint(
            "state IN ('connected', 'reconnect_required', 'closing', 'disconnected')", name="ck_connection_state"
        ),
        sa.CheckConstraint(
            "state NOT IN ('connected', 'reconnect_required') OR grant_id IS NOT NULL", name="ck_connection_grant"
        ),
    )
    op.create_index("ix_connection_grant_id", "connection", ["grant_id"])
    op.create_table(
        "authorization_attempt",
        sa.Column("state_hash", sa.LargeBinary, nullable=False),
        sa.Column("product", sa.Text, nullable=False),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("browser_hash", sa.LargeBinary, nullable=False),
        sa.Column("code_verifier", sa.LargeBinary, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("state_hash", name="pk_authorization_attempt"),
    )
    op.create_index("ix_authorization_attempt_created_at", "authorization_attempt", ["created_at"])
    op.create_table(
        "disconnect",
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("product", sa.Text, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("pco_organization_name", sa.Text, nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("lines", JSONB, nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("organization_id", "product", "generation", name="pk_disconnect"),
    )
    op.create_index(
        "ix_disconnect_due", "disconnect", ["due_at"], postgresql_where=sa.text("finished_at IS NULL")
    )
