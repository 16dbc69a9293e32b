"""The tables of calendar-sync. Row access is always by organization."""

from datetime import date, datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from servicekit.db.sessions import Columns, service_metadata
from synckit.creations import CreationColumns, creation_key
from synckit.gaps import GapColumns, gap_indexes
from synckit.hints import HintColumns, hint_indexes
from synckit.refreshes import RefreshColumns, refresh_indexes
from synckit.tables import (
    ChangeColumns,
    EffectColumns,
    RunColumns,
    ScheduledConnection,
    change_indexes,
    effect_indexes,
    run_indexes,
)


class Base(Columns, DeclarativeBase):
    """The declarative base; its metadata also holds servicekit's outbox and inbox tables."""

    metadata = service_metadata(jobs=True, answers=True)


class CalendarConnection(ScheduledConnection, Base):
    """A church's Calendar connection, from auth-service's facts, and its checks. No run of it is scheduled."""

    __tablename__ = "calendar_connection"
    __table_args__ = (
        Index("ix_calendar_connection_poll", "next_poll_at", postgresql_where=text("state = 'connected'")),
    )

    pco_organization_name: Mapped[str]
    occurred_at: Mapped[datetime]
    time_zone: Mapped[str | None]
    """The church's own zone (IANA); None while it is not known."""
    next_poll_at: Mapped[datetime | None]
    """When linked events are checked next; None before the first link or connection."""
    checked_at: Mapped[datetime | None]
    """End of the last complete check: every linked event of the time that it covers was read."""
    checked_from: Mapped[datetime | None]
    """When the last check began that read all windows and tried every event. It shows what changed before, unless of an
    event that could not be read: such a check is later than `checked_at`."""
    role_missing: Mapped[bool] = mapped_column(server_default=text("false"))
    """Whether Planning Center refused Calendar to the person who connected it, in the last check."""
    may_create: Mapped[bool | None]
    """Whether Planning Center lets events be created, by its last answer to a push; None before one."""
    may_create_at: Mapped[datetime | None]
    """When it answered so."""
    density: Mapped[float | None]
    """Instances a day in the church's calendar, as windows showed it."""

    @property
    def left_unread(self) -> bool:
        """Whether the last check left events out that could not be read."""
        return self.checked_from is not None and (self.checked_at is None or self.checked_at < self.checked_from)


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
        Index(
            "ix_event_feed",
            "organization_id",
            "last_ends_at",
            postgresql_include=["first_starts_at", "id", "version", "occurrence_count", "time_zone"],
            postgresql_where=text("deleted_at IS NULL AND handed_off"),
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
    listed: Mapped[bool] = mapped_column(server_default=text("false"), default=False)
    """Whether its occurrences are listed one by one, as Planning Center has them, and follow from no rule."""
    handed_off: Mapped[bool] = mapped_column(server_default=text("false"), default=False)
    """Whether Planning Center has it, or is to have it, by the church's feed."""
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
        Index(
            "uq_occurrence_pco",
            "event_id",
            "pco_instance_id",
            unique=True,
            postgresql_where=text("pco_instance_id IS NOT NULL"),
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
    pco_instance_id: Mapped[str | None]
    """Its id in Planning Center, of a linked event."""


class EventLink(Base):
    """The link of an event with one in Planning Center, or with one occurrence there.

    Those of another Planning Center organization than the connected one stay, and are not shown meanwhile.
    """

    __tablename__ = "event_link"
    __table_args__ = (
        UniqueConstraint("event_id", "pco_organization_id"),
        Index("ix_event_link_owner", "organization_id", "pco_organization_id", "state", "event_id"),
        Index(
            "uq_event_link_target",
            "organization_id",
            "pco_organization_id",
            "pco_event_id",
            text("coalesce(pco_instance_id, '')"),
            unique=True,
            postgresql_where=text("state = 'linked'"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    organization_id: Mapped[str]
    pco_organization_id: Mapped[str]
    event_id: Mapped[UUID] = mapped_column(ForeignKey("event.id"))
    pco_event_id: Mapped[str]
    pco_instance_id: Mapped[str | None]
    """The linked occurrence; None if the event with all of them is linked."""
    title_there: Mapped[str]
    state: Mapped[str]
    """`linked`, or `gone` while it is deleted in Planning Center."""
    linked_at: Mapped[datetime]
    linked_by_name: Mapped[str | None]
    missing_since: Mapped[datetime | None]
    """When Planning Center first did not have it."""
    look_after: Mapped[datetime | None]
    """When it is looked for next, while it is missing or gone."""
    gone_at: Mapped[datetime | None]
    note: Mapped[str | None]
    """The sentence about values that the last read could not take over."""
    from_feed: Mapped[bool] = mapped_column(server_default=text("false"), default=False)
    """Whether Planning Center has it from the church's feed, so that it is changed here alone."""
    kept: Mapped[list[Any]] = mapped_column(server_default=text("'[]'"), default=list)
    """The parts that a person restored (`domain.taking_over.KEPT`). A check leaves them alone."""
    read_at: Mapped[datetime | None]
    """When the newest read began that was taken over, or that read it at its own address. An older one is not taken."""


class Push(Base):
    """An event that somebody asked to have in Planning Center, until it is there and linked."""

    __tablename__ = "push"
    __table_args__ = (
        Index("ix_push_waiting", "organization_id", "looked_at", postgresql_where=text("state = 'waiting'")),
    )

    event_id: Mapped[UUID] = mapped_column(ForeignKey("event.id"), primary_key=True)
    pco_organization_id: Mapped[str] = mapped_column(primary_key=True)
    organization_id: Mapped[str]
    state: Mapped[str]
    """`asked` while it is being created, or `waiting` for somebody to create it there, because the API refuses."""
    asked_at: Mapped[datetime]
    by_user_id: Mapped[str]
    by_name: Mapped[str]
    looked_at: Mapped[datetime]
    """When it was last looked for, while it is waited for."""
    note: Mapped[str | None]
    """The sentence about the obstacle to linking it by itself."""


class Creation(CreationColumns, Base):
    """An intent to create an event, or one of its occurrences, in Planning Center."""

    __tablename__ = "creation"
    __table_args__ = (creation_key(), Index("ix_creation_event", "event_id"))

    event_id: Mapped[UUID | None]
    """The event; None only until the intent is opened."""
    slipped: Mapped[list[Any]] = mapped_column(server_default=text("'[]'"), default=list)
    """Ids of records that were created after another worker took the job."""


class Run(RunColumns, Base):
    """A sync of all linked events."""

    __tablename__ = "run"
    __table_args__ = run_indexes()


class Change(ChangeColumns, Base):
    """One event of a run, with its outcome."""

    __tablename__ = "change"
    __table_args__ = change_indexes()


class Refresh(RefreshColumns, Base):
    """An event to sync by itself.

    Reasons: `asked` at a screen, with the instant (`domain.asked`), `changed` as a message said, `missing` in a check.
    """

    __tablename__ = "refresh"
    __table_args__ = refresh_indexes()


class Hint(HintColumns, Base):
    """A notice of Planning Center that waits for a refresh."""

    __tablename__ = "hint"
    __table_args__ = hint_indexes()


class Gap(GapColumns, Base):
    """A window whose changes have to be read again, because notices were lost."""

    __tablename__ = "gap"
    __table_args__ = gap_indexes()


class Feed(Base):
    """A church's private iCal feed. A new address replaces the one before."""

    __tablename__ = "feed"
    __table_args__ = (Index("uq_feed_key", "key", unique=True),)

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[bytes]
    """`contracts.feeds.feed_key` of the address, which is kept nowhere."""
    name: Mapped[str]
    """The organization's, as readers of calendars show it."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    created_by_name: Mapped[str]
    last_read_at: Mapped[datetime | None]
    """To the precision of minutes."""
    revoked_at: Mapped[datetime | None]


class Effect(EffectColumns, Base):
    """A change of one field of an event, with its cause. Never deleted.

    Adding an event is one row (field `created`). What changed of one occurrence is one row (field `occurrence`).
    """

    __tablename__ = "effect"
    __table_args__ = effect_indexes("effect")
