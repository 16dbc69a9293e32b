"""The service's tables, beside servicekit's."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    SmallInteger,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from servicekit.db.sessions import Columns, service_metadata
from synckit.connections import ConnectionColumns

SLOTS: Final = 5
"""Partitions of `seen`, one of which is empty."""


class Base(Columns, DeclarativeBase):
    """Base of this service's tables."""

    metadata = service_metadata(jobs=True, answers=True)


class Connection(ConnectionColumns, Base):
    """The newest known state of a church's connection: a projection of `auth.connection.v1`."""

    __tablename__ = "connection"

    product: Mapped[str] = mapped_column(primary_key=True)
    subscriptions_version: Mapped[int] = mapped_column(default=0)
    """Number of published states of this connection's subscriptions."""
    updated_at: Mapped[datetime]


class WebhookKey(Base):
    """The secret part of the address that Planning Center calls: one for each generation of a connection."""

    __tablename__ = "webhook_key"
    __table_args__ = (
        UniqueConstraint("key_hash"),
        UniqueConstraint("organization_id", "product", "generation"),
        Index("ix_webhook_key_due", "due_at", postgresql_where=text("due_at IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    organization_id: Mapped[str]
    product: Mapped[str]
    generation: Mapped[int]
    pco_organization_id: Mapped[str]
    key_hash: Mapped[bytes]
    """SHA-256 of the key."""
    sealed_key: Mapped[bytes]
    """The key encrypted, to tell Planning Center the address."""
    created_at: Mapped[datetime]
    verified_at: Mapped[datetime | None]
    """When Planning Center's list of subscriptions was last compared."""
    due_at: Mapped[datetime | None]
    """When it is compared again; null while no comparison is due by itself."""
    failures_seen_at: Mapped[datetime | None]
    """When Planning Center's list of failed deliveries was last read."""
    rotate_asked_at: Mapped[datetime | None]
    """When an administrator asked for new secrets; null once every subscription has one."""
    retired_at: Mapped[datetime | None]
    """Set once the subscriptions are removed: from then on the address answers 410."""


class WebhookSubscription(Base):
    """One event name that Planning Center is asked to tell us about."""

    __tablename__ = "webhook_subscription"
    __table_args__ = (
        UniqueConstraint("key_id", "name"),
        CheckConstraint("state IN ('wanted', 'active', 'refused', 'removed')", name="state"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    key_id: Mapped[int] = mapped_column(ForeignKey("webhook_key.id"))
    name: Mapped[str]
    state: Mapped[str]
    pco_id: Mapped[str | None]
    sealed_secret: Mapped[bytes | None]
    """Planning Center's `authenticity_secret`, encrypted and bound to this row."""
    secret_since: Mapped[datetime | None]
    """When this secret became known."""
    sealed_previous: Mapped[bytes | None]
    """The secret before a rotation, valid until `previous_until`."""
    previous_until: Mapped[datetime | None]
    refusal: Mapped[str | None]
    """Planning Center's refusal as a sentence: of the subscription, or of a new secret for an active one."""
    active_since: Mapped[datetime | None]
    changed_at: Mapped[datetime]


class DeliveryGap(Base):
    """A window whose deliveries were lost, and how it was closed."""

    __tablename__ = "delivery_gap"
    __table_args__ = (
        Index("ix_delivery_gap_list", "organization_id", "product", "found_at"),
        Index(
            "uq_delivery_gap_open",
            "organization_id",
            "product",
            "generation",
            unique=True,
            postgresql_where=text("closed_at IS NULL"),
        ),
        Index("ix_delivery_gap_forget", "closed_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    organization_id: Mapped[str]
    product: Mapped[str]
    generation: Mapped[int]
    since: Mapped[datetime]
    until: Mapped[datetime]
    cause: Mapped[str]
    """In words."""
    found_at: Mapped[datetime]
    version: Mapped[int] = mapped_column(default=0, server_default="0")
    """The version of its last DeliveryGapFound; 0 until it is published. An open gap that grew is published again."""
    redelivered: Mapped[int] = mapped_column(default=0, server_default="0")
    """Deliveries that Planning Center was asked to send again."""
    closed_at: Mapped[datetime | None]
    closed_how: Mapped[str | None]
    """In words."""
    run_id: Mapped[str | None]
    """The sync that closed it, if it was one."""


class Seen(Base):
    """Deliveries of the last 30 days (docs/decisions/0035). Partitioned by `slot`, which is a number of ten days."""

    __tablename__ = "seen"
    __table_args__ = {"postgresql_partition_by": "LIST (slot)"}  # noqa: RUF012 - SQLAlchemy's form

    slot: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    key_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    delivery: Mapped[UUID] = mapped_column(primary_key=True)
    """The vendor's delivery id, or its hash if that is no UUID."""


class WebhookBody(Base):
    """The bytes of one accepted call, as they came. A body may hold several deliveries."""

    __tablename__ = "webhook_body"
    __table_args__ = (Index("ix_webhook_body_forget", "organization_id", "received_at"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    organization_id: Mapped[str]
    key_id: Mapped[int]
    subscription_id: Mapped[UUID]
    body: Mapped[bytes]
    received_at: Mapped[datetime]


class Delivery(Base):
    """The delivery log.

    waiting ──owner acted──▶ applied        failed ──archived by an administrator──▶ archived
       │ └──unreadable, or given up──▶ failed    └──replayed──▶ waiting
    """

    __tablename__ = "delivery"
    __table_args__ = (
        Index("ix_delivery_received", "organization_id", "received_at", "state"),
        Index("ix_delivery_resource", "organization_id", "resource_id", "id"),
        Index("ix_delivery_name", "organization_id", "name", "id"),
        Index("ix_delivery_waiting_body", "body_id", postgresql_where=text("state = 'waiting'")),
        Index("ix_delivery_list", "organization_id", "id"),
        Index("ix_delivery_outcome", "organization_id", "outcome", "id", postgresql_where=text("outcome IS NOT NULL")),
        Index(
            "ix_delivery_record", "organization_id", "record_id", "id", postgresql_where=text("record_id IS NOT NULL")
        ),
        Index("ix_delivery_person", "organization_id", "person_id", postgresql_where=text("person_id IS NOT NULL")),
        Index(
            "ix_delivery_merged",
            "organization_id",
            "merged_person_id",
            postgresql_where=text("merged_person_id IS NOT NULL"),
        ),
        Index("ix_delivery_waiting", "waiting_since", postgresql_where=text("state = 'waiting'")),
        Index("ix_delivery_failed", "organization_id", "id", postgresql_where=text("state = 'failed'")),
        Index("ix_delivery_archived", "organization_id", "id", postgresql_where=text("state = 'archived'")),
        CheckConstraint("state IN ('waiting', 'applied', 'failed', 'archived')", name="state"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    """The number in the log, which is the `version` of its facts."""
    organization_id: Mapped[str]
    product: Mapped[str]
    generation: Mapped[int]
    body_id: Mapped[UUID]
    position: Mapped[int]
    """Place in the body, from 0."""
    delivery_id: Mapped[str]
    """`data[].id`; empty if the body cannot be read."""
    name: Mapped[str]
    resource_type: Mapped[str | None]
    resource_id: Mapped[str | None]
    person_id: Mapped[str | None]
    merged_person_id: Mapped[str | None]
    event_time: Mapped[datetime | None]
    state: Mapped[str]
    received_at: Mapped[datetime]
    verified_at: Mapped[datetime]
    stored_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    waiting_since: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    """When it was stored, or last sent again."""
    published_at: Mapped[datetime | None]
    """When Kafka had confirmed it; null again while it waits to be sent once more."""
    applied_at: Mapped[datetime | None]
    outcome: Mapped[str | None]
    outcome_by: Mapped[str | None]
    sentence: Mapped[str | None]
    """The outcome in words; of a failure its cause, by which failures are grouped."""
    record_kind: Mapped[str | None]
    record_id: Mapped[str | None]
    replays: Mapped[int] = mapped_column(default=0, server_default="0")
    archived_by: Mapped[str | None]
    archived_note: Mapped[str | None]


class RefusedCall(Base):
    """Calls of one hour that were refused, counted, with one sample. They are not stored."""

    __tablename__ = "refused_call"

    hour: Mapped[datetime] = mapped_column(primary_key=True)
    organization_id: Mapped[str] = mapped_column(primary_key=True)
    """Empty for a call whose key is unknown."""
    reason: Mapped[str] = mapped_column(primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)
    sample: Mapped[dict[str, Any]]
    """Size and content type of one of them; nothing of its contents."""
    newest_at: Mapped[datetime]


class Replay(Base):
    """Deliveries that an administrator has sent again."""

    __tablename__ = "replay"
    __table_args__ = (
        Index("ix_replay_list", "organization_id", "asked_at"),
        Index("ix_replay_forget", "asked_at"),
        CheckConstraint("state IN ('queued', 'running', 'done', 'stopped')", name="state"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    organization_id: Mapped[str]
    chosen: Mapped[dict[str, Any]]
    """The filter, and the number of the newest delivery that was counted."""
    state: Mapped[str]
    total: Mapped[int]
    done: Mapped[int] = mapped_column(default=0, server_default="0")
    asked_by_id: Mapped[str]
    asked_by: Mapped[str]
    asked_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class PayloadView(Base):
    """An administrator's look at a payload without masks."""

    __tablename__ = "payload_view"
    __table_args__ = (
        Index("ix_payload_view_delivery", "organization_id", "delivery_number"),
        Index("ix_payload_view_forget", "seen_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    organization_id: Mapped[str]
    delivery_number: Mapped[int] = mapped_column(BigInteger)
    user_id: Mapped[str]
    user_name: Mapped[str]
    reason: Mapped[str]
    seen_at: Mapped[datetime]


class WebhookSettings(Base):
    """A church's settings of the delivery log."""

    __tablename__ = "webhook_settings"

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    kept_days: Mapped[int]
