"""Keys, subscriptions, the delivery log, and what it needs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from servicekit.db.migrations import create_jobs, create_kept_answers

revision = "0003"
down_revision = "0002"

SLOTS = 5


def upgrade() -> None:
    create_jobs()
    create_kept_answers()
    _subscriptions()
    _deliveries()
    _beside_the_log()


def _at(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _subscriptions() -> None:
    op.create_table(
        "webhook_key",
        sa.Column("id", sa.Integer, sa.Identity(always=True), primary_key=True),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("product", sa.Text, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("pco_organization_id", sa.Text, nullable=False),
        sa.Column("key_hash", sa.LargeBinary, nullable=False),
        sa.Column("sealed_key", sa.LargeBinary, nullable=False),
        _at("created_at"),
        _at("verified_at", nullable=True),
        _at("due_at", nullable=True),
        _at("failures_seen_at", nullable=True),
        _at("rotate_asked_at", nullable=True),
        _at("retired_at", nullable=True),
        sa.UniqueConstraint("key_hash", name="uq_webhook_key_key_hash"),
        sa.UniqueConstraint("organization_id", "product", "generation", name="uq_webhook_key_organization_id_product_generation"),
    )
    op.create_index("ix_webhook_key_due", "webhook_key", ["due_at"], postgresql_where=sa.text("due_at IS NOT NULL"))
    op.create_table(
        "webhook_subscription",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("key_id", sa.Integer, sa.ForeignKey("webhook_key.id"), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("pco_id", sa.Text),
        sa.Column("sealed_secret", sa.LargeBinary),
        _at("secret_since", nullable=True),
        sa.Column("sealed_previous", sa.LargeBinary),
        _at("previous_until", nullable=True),
        sa.Column("refusal", sa.Text),
        _at("active_since", nullable=True),
        _at("changed_at"),
        sa.UniqueConstraint("key_id", "name", name="uq_webhook_subscription_key_id_name"),
        sa.CheckConstraint("state IN ('wanted', 'active', 'refused', 'removed')", name="ck_webhook_subscription_state"),
    )
    op.create_table(
        "delivery_gap",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("product", sa.Text, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        _at("since"),
        _at("until"),
        sa.Column("cause", sa.Text, nullable=False),
        _at("found_at"),
        sa.Column("version", sa.Integer, nullable=False, server_default="0"),
        sa.Column("redelivered", sa.Integer, nullable=False, server_default="0"),
        _at("closed_at", nullable=True),
        sa.Column("closed_how", sa.Text),
        sa.Column("run_id", sa.Text),
    )
    op.create_index("ix_delivery_gap_list", "delivery_gap", ["organization_id", "product", "found_at"])
    op.create_index(
        "uq_delivery_gap_open",
        "delivery_gap",
        ["organization_id", "product", "generation"],
        unique=True,
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.create_index("ix_delivery_gap_forget", "delivery_gap", ["closed_at"])


def _deliveries() -> None:
    op.create_table(
        "seen",
        sa.Column("slot", sa.SmallInteger, nullable=False),
        sa.Column("key_id", sa.Integer, nullable=False),
        sa.Column("delivery", sa.Uuid, nullable=False),
        sa.PrimaryKeyConstraint("slot", "key_id", "delivery", name="pk_seen"),
        postgresql_partition_by="LIST (slot)",
    )
    for slot in range(SLOTS):
        op.execute(f"CREATE TABLE seen_{slot} PARTITION OF seen FOR VALUES IN ({slot})")
    op.create_table(
        "webhook_body",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("key_id", sa.Integer, nullable=False),
        sa.Column("subscription_id", sa.Uuid, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        _at("received_at"),
    )
    op.create_index("ix_webhook_body_forget", "webhook_body", ["organization_id", "received_at"])
    op.create_table(
        "delivery",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("product", sa.Text, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("body_id", sa.Uuid, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("delivery_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("resource_type", sa.Text),
        sa.Column("resource_id", sa.Text),
        sa.Column("person_id", sa.Text),
        sa.Column("merged_person_id", sa.Text),
        _at("event_time", nullable=True),
        sa.Column("state", sa.Text, nullable=False),
        _at("received_at"),
        _at("verified_at"),
        sa.Column("stored_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()),
        sa.Column(
            "waiting_since", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()
        ),
        _at("published_at", nullable=True),
        _at("applied_at", nullable=True),
        sa.Column("outcome", sa.Text),
        sa.Column("outcome_by", sa.Text),
        sa.Column("sentence", sa.Text),
        sa.Column("record_kind", sa.Text),
        sa.Column("record_id", sa.Text),
        sa.Column("replays", sa.Integer, nullable=False, server_default="0"),
        sa.Column("archived_by", sa.Text),
        sa.Column("archived_note", sa.Text),
        sa.CheckConstraint("state IN ('waiting', 'applied', 'failed', 'archived')", name="ck_delivery_state"),
    )
    op.create_index("ix_delivery_received", "delivery", ["organization_id", "received_at", "state"])
    op.create_index("ix_delivery_resource", "delivery", ["organization_id", "resource_id", "id"])
    op.create_index("ix_delivery_name", "delivery", ["organization_id", "name", "id"])
    op.create_index("ix_delivery_list", "delivery", ["organization_id", "id"])
    for name, columns, where in (
        ("outcome", ["organization_id", "outcome", "id"], "outcome IS NOT NULL"),
        ("record", ["organization_id", "record_id", "id"], "record_id IS NOT NULL"),
        ("person", ["organization_id", "person_id"], "person_id IS NOT NULL"),
        ("merged", ["organization_id", "merged_person_id"], "merged_person_id IS NOT NULL"),
        ("waiting", ["waiting_since"], "state = 'waiting'"),
        ("failed", ["organization_id", "id"], "state = 'failed'"),
        ("archived", ["organization_id", "id"], "state = 'archived'"),
    ):
        op.create_index(f"ix_delivery_{name}", "delivery", columns, postgresql_where=sa.text(where))
    op.create_index(
        "ix_delivery_waiting_body", "delivery", ["body_id"], postgresql_where=sa.text("state = 'waiting'")
    )


def _beside_the_log() -> None:
    op.create_table(
        "refused_call",
        _at("hour"),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("sample", JSONB, nullable=False),
        _at("newest_at"),
        sa.PrimaryKeyConstraint("hour", "organization_id", "reason", name="pk_refused_call"),
    )
    op.create_table(
        "replay",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("chosen", JSONB, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("total", sa.Integer, nullable=False),
        sa.Column("done", sa.Integer, nullable=False, server_default="0"),
        sa.Column("asked_by_id", sa.Text, nullable=False),
        sa.Column("asked_by", sa.Text, nullable=False),
        _at("asked_at"),
        _at("finished_at", nullable=True),
        sa.CheckConstraint("state IN ('queued', 'running', 'done', 'stopped')", name="ck_replay_state"),
    )
    op.create_index("ix_replay_list", "replay", ["organization_id", "asked_at"])
    op.create_index("ix_replay_forget", "replay", ["asked_at"])
    op.create_table(
        "payload_view",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("delivery_number", sa.BigInteger, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("user_name", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        _at("seen_at"),
    )
    op.create_index("ix_payload_view_delivery", "payload_view", ["organization_id", "delivery_number"])
    op.create_index("ix_payload_view_forget", "payload_view", ["seen_at"])
    op.create_table(
        "webhook_settings",
        sa.Column("organization_id", sa.Text, primary_key=True),
        sa.Column("kept_days", sa.Integer, nullable=False),
    )
