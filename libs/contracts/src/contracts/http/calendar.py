"""calendar-sync: events, their occurrences, and settings."""

from datetime import date
from typing import Annotated, Final

from pydantic import Field

from contracts.base import Model, Timestamp
from contracts.http.common import NOT_NULL, FieldError, Intent, ListQuery, PageQuery
from contracts.http.inputs import REFUSED_ALONE, ExternalId, Judged, Lines, Text, judged_as

LARGEST_SERIES: Final = 1000
"""Occurrences of an event, so that one fact can carry them all."""
LONGEST_WINDOW_DAYS: Final = 400
"""Days of the calendar in one list."""

Title = Annotated[Text, Field(min_length=1, max_length=255)]
Location = Annotated[Text, Field(max_length=500)]
Description = Annotated[Lines, Field(max_length=10_000)]
ZoneName = Annotated[Text, Field(min_length=1, max_length=64)]
Rule = Annotated[Text, Field(max_length=500)]
Key = Annotated[Text, Field(min_length=1, max_length=40)]


class EventInput(Intent):
    """A new event: with `starts_at` and `ends_at`, or, if it takes whole days, with `first_day` and `last_day`."""

    title: Title
    """Title of the event."""
    starts_at: Timestamp | None = None
    """When it begins, in whole seconds: a fraction is cut off. The first occurrence of a series."""
    ends_at: Timestamp | None = None
    """When it ends: not before it begins, and at most 366 days later. The first occurrence of a series."""
    first_day: date | None = None
    """First day of an all-day event."""
    last_day: date | None = None
    """Last day of an all-day event, which it includes."""
    time_zone: ZoneName | None = None
    """IANA name, such as America/New_York. Null: the church's own, if it is known."""
    location: Location | None = None
    """Where the event takes place."""
    description: Description | None = None
    """Text about the event, which may have several lines."""
    recurrence: Rule | None = Field(
        default=None,
        description="Rule of a series, as iCalendar's `RRULE`: `FREQ` (`DAILY`, `WEEKLY`, `MONTHLY`, `YEARLY`), "
        "`INTERVAL`, `BYDAY`, `BYMONTHDAY`, `BYMONTH`, `BYSETPOS`, `WKST`, and `COUNT` or `UNTIL`: its last day, or in "
        f"UTC its last instant. It begins with the event itself, has at most {LARGEST_SERIES} occurrences and ends "
        "within ten years.",
    )
    external_id: ExternalId | None = None
    """The platform's own id of this event; one event has it at a time."""


class EventPatch(Intent):
    """Only the fields sent are changed. A series keeps the occurrences that were moved, named or taken out by
    themselves, where the rule still has their day."""

    version: int | None = Field(default=None, ge=1)
    """The version shown to the person: 409 `version-conflict` if the event has another by now. Null: unchecked."""
    title: Annotated[Title | None, NOT_NULL] = None
    """Title of the event; not null."""
    starts_at: Timestamp | None = None
    """When it begins; makes an all-day event one with times."""
    ends_at: Timestamp | None = None
    """When it ends."""
    first_day: date | None = None
    """First day; makes an event with times an all-day event."""
    last_day: date | None = None
    """Last day of an all-day event, which it includes."""
    time_zone: ZoneName | None = None
    """IANA name. Instants and days stay what they are. Null: the church's own, if it is known."""
    location: Location | None = None
    """Where the event takes place; null clears."""
    description: Description | None = None
    """Text about the event; null clears."""
    recurrence: Rule | None = None
    """Rule of a series; null makes it a single event."""


class OccurrencePatch(Intent):
    """Only the fields sent are changed, of this occurrence alone."""

    version: int | None = Field(default=None, ge=1)
    """The event's version shown to the person: 409 `version-conflict` if it has another by now. Null: unchecked."""
    starts_at: Timestamp | None = None
    """When this occurrence begins; null goes back to the rule's times."""
    ends_at: Timestamp | None = None
    """When this occurrence ends; null goes back to the rule's times."""
    first_day: date | None = None
    """First day of this occurrence of an all-day event; null goes back to the rule's days."""
    last_day: date | None = None
    """Last day of this occurrence of an all-day event; null goes back to the rule's days."""
    title: Title | None = None
    """Title of this occurrence; null for the event's."""
    location: Location | None = None
    """Where this occurrence takes place; null for where the event does."""
    cancelled: Annotated[bool | None, NOT_NULL] = None
    """Whether this occurrence is taken out of the series; not null."""


class OwnOccurrence(Intent):
    """One occurrence of a series that has times, a title or a location of its own."""

    key: Key
    """Key of the occurrence, or the day that it begins with, such as 20260405."""
    starts_at: Timestamp | None = None
    """When it begins; null for the rule's times."""
    ends_at: Timestamp | None = None
    """When it ends; null for the rule's times."""
    first_day: date | None = None
    """First day, of an all-day event; null for the rule's days."""
    last_day: date | None = None
    """Last day, of an all-day event; null for the rule's days."""
    title: Title | None = None
    """Its title; null for the event's."""
    location: Location | None = None
    """Where it takes place; null for where the event does."""


class BulkEvent(EventInput):
    """An event that the platform already has. Of one that is here, only the fields sent are changed."""

    external_id: ExternalId
    """The platform's own id: the event that has it is changed, or one is added."""
    excluded: tuple[Key, ...] = Field(
        default=(),
        max_length=LARGEST_SERIES,
        description="Occurrences of the series that are taken out, all of them: keys, or days such as 20260405.",
    )
    moved: tuple[OwnOccurrence, ...] = Field(
        default=(),
        max_length=LARGEST_SERIES,
        description="Occurrences of the series with times, a title or a location of their own, all of them.",
    )


class BulkEvents(Intent):
    """Events that the platform already has. A repeated call has the effect of one."""

    events: tuple[Annotated[Judged, judged_as(BulkEvent)], ...] = Field(
        default=(), max_length=1000, description=REFUSED_ALONE
    )


class RejectedEvent(Model):
    """One refused event."""

    position: int = Field(ge=0)
    """Position in the list, from 0."""
    external_id: str | None
    """The platform's own id, if it could be read."""
    errors: tuple[FieldError, ...]
    """The event's faults in words."""


class BulkEventsResult(Model):
    """Counts by outcome, and the refused events with reasons."""

    created: int
    """Number of events added."""
    updated: int
    """Number of events changed."""
    unchanged: int
    """Number of events that already had these values."""
    rejected: tuple[RejectedEvent, ...]
    """The refused events."""


class EventFilter(ListQuery):
    """Filters of the events' list."""

    q: str | None = Field(default=None, max_length=100, description="Part of the title.")


class EventQuery(EventFilter, PageQuery):
    """A page of them."""


class OccurrenceFilter(ListQuery):
    """Days of the calendar. What takes place on one of them is listed, also in part."""

    first_day: date | None = None
    """First day of the window; null for today."""
    last_day: date | None = Field(
        default=None,
        description=f"Last day of the window, which it includes; null for a month. At most {LONGEST_WINDOW_DAYS} days.",
    )
    time_zone: str | None = Field(
        default=None,
        max_length=64,
        description="IANA name of the zone whose days these are. Null: the church's own, or UTC if it is not known.",
    )


class OccurrenceQuery(OccurrenceFilter, PageQuery):
    """A page of them."""

    limit: int = Field(default=50, ge=1, le=1000)
    """Items on one page."""


class CalendarSettings(Model):
    """An administrator's settings of the Calendar sync."""

    poll_minutes: int = Field(default=5, ge=1, le=120, description="How often linked events are checked.")


class CalendarSettingsPatch(Intent):
    """Only the fields sent are changed."""

    poll_minutes: int | None = Field(default=None, ge=1, le=120)
    """How often linked events are checked."""
