"""The tables of calendar-sync. Row access is always by organization."""

from datetime import date, datetime
from uuid import UUID, uuid4

from sqlalchemy import CheckConstraint, ForeignKey, Index, func, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from servicekit.db.sessions import Columns, service_metadata
from synckit.connections import ConnectionColumns
from synckit.tables import EffectColumns, effect_indexes


class Base(Columns, DeclarativeBase):
    """The declarative base; its metadata also holds servicekit's outbox and inbox tables."""

    metadata = service_metadata(answers=True)


class CalendarConnection(ConnectionColumns, Base):
    """A church's Calendar connection, from auth-service's facts."""

    __tablename__ = "calendar_connection"

    pco_organization_name: Mapped[str]
    occurred_at: Mapped[datetime]
    time_zone: Mapped[str | None]
    """The church's own zone (IANA); None while it is not known."""


class ChurchSettings(Base):
    """The settings that an administrator chose; the defaults apply without a row."""

    __tablename__ = "church_settings"
    __table_args__ = (CheckConstraint("poll_minutes BETWEEN 1 AND 120", name="poll_minutes"),)

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    poll_minutes: Mapped[int] = mapped_column(server_default=text("5"))
    """How often linked events are checked."""


class Event(Base):
    """An event: a container of occurrences. The row of a deleted one stays, for its `external_id` and its history."""

    __tablename__ = "event"
    __table_args__ = (
        Index(
            "uq_event_external",
            "organization_id",
            "external_id",
            unique=True,
            postgresql_where=text("external_id IS NOT NULL"),
        ),
        Index("ix_event_here", "organization_id", "title_key", "id", postgresql_where=text("deleted_at IS NULL")),
        Index(
            "ix_event_search",
            "organization_id",
            "title_key",
            postgresql_using="gin",
            postgresql_ops={"title_key": "gin_trgm_ops"},
            postgresql_with={"gin_pending_list_limit": "1024"},
            postgresql_where=text("deleted_at IS NULL"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    organization_id: Mapped[str]
    external_id: Mapped[str | None]
    title: Mapped[str]
    title_key: Mapped[str]
    """Folded title, for search and for the order of lists."""
    location: Mapped[str | None]
    description: Mapped[str | None]
    starts_at: Mapped[datetime]
    """As a person set it; of a series the first occurrence by the rule. So are the following three."""
    ends_at: Mapped[datetime]
    first_day: Mapped[date | None]
    """First day of an all-day event, whose instants are midnights in its zone, for order alone."""
    last_day: Mapped[date | None]
    """Last day, inclusive."""
    time_zone: Mapped[str]
    recurrence: Mapped[str | None]
    first_starts_at: Mapped[datetime]
    """When the first occurrence begins that is not cancelled."""
    last_ends_at: Mapped[datetime]
    """When the last one ends."""
    occurrence_count: Mapped[int]
    """Number of occurrences that are not cancelled."""
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    deleted_at: Mapped[datetime | None]


class OccurrenceRow(Base):
    """One occurrence of an event that is not deleted."""

    __tablename__ = "occurrence"
    __table_args__ = (
        Index(
            "ix_occurrence_start",
            "organization_id",
            "starts_at",
            "event_id",
            "key",
            postgresql_where=text("NOT cancelled"),
        ),
        # Few rows: a window finds all others within two days before it.
        Index(
            "ix_occurrence_long",
            "organization_id",
            "starts_at",
            "event_id",
            "key",
            postgresql_where=text("NOT cancelled AND ends_at - starts_at > interval '2 days'"),
        ),
    )

    event_id: Mapped[UUID] = mapped_column(ForeignKey("event.id"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    """`domain.events.Occurrence.key`."""
    organization_id: Mapped[str]
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    first_day: Mapped[date | None]
    last_day: Mapped[date | None]
    title: Mapped[str | None]
    """Its own title; None for the event's."""
    location: Mapped[str | None]
    moved: Mapped[bool]
    """Whether its times are its own and not the rule's."""
    cancelled: Mapped[bool]
    """Whether it was taken out; the row stays so that no change of the rule brings it back."""


class Effect(EffectColumns, Base):
    """A change of one field of an event, with its cause. Never deleted.

    Adding an event is one row (field `created`). What changed of one occurrence is one row (field `occurrence`).
    """

    __tablename__ = "effect"
    __table_args__ = effect_indexes("effect")
