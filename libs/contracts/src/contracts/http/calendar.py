"""calendar-sync: events, their occurrences, their links with Planning Center, syncs, and settings."""

from datetime import date
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from contracts.base import Model, Timestamp
from contracts.calendar import EventDetails, EventSummary, Occurrence
from contracts.http.common import NOT_NULL, FieldError, Intent, ListQuery, PageQuery
from contracts.http.inputs import REFUSED_ALONE, ExternalId, Judged, Lines, PcoId, Text, judged_as
from contracts.sync_runs import Run, RunState

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
    """When it begins, in whole seconds: a fraction is cut off. The first occurrence of a series, which repeats at the
    time that clocks in `time_zone` show then. Where they skip a time, an instant shows the one after."""
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
    state: Literal["linked", "unlinked", "gone"] | None = None
    """`linked` with Planning Center, `unlinked`, or `gone`: deleted in Planning Center."""


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


class CalendarStatus(Model):
    """Present numbers and state of the Calendar, for its card."""

    connected: bool
    """Whether Planning Center Calendar is connected."""
    role_missing: bool
    """Whether Planning Center refuses Calendar to the person who connected it."""
    message: str | None = Field(default=None, description="What is wrong, and what to do, in a sentence; null if fine.")
    time_zone: str | None = Field(default=None, description="The church's zone (IANA); null while it is not known.")
    linked: int
    """Number of linked events."""
    gone: int
    """Number of events whose counterpart was deleted in Planning Center."""
    poll_minutes: int
    """Minutes between two checks of the linked events."""
    checked_at: Timestamp | None = Field(default=None, description="End of the last complete check; null before one.")
    next_check_at: Timestamp | None = Field(default=None, description="When the next check is due; null if none is.")
    run: Run | None = Field(default=None, description="The sync of all linked events in progress.")
    last_run: Run | None = Field(default=None, description="The last such sync that ended.")


class ThereQuery(ListQuery):
    """A search in Planning Center Calendar: by name, by days, or both."""

    q: str | None = Field(default=None, max_length=100, description="Part of the name.")
    first_day: date | None = None
    """First day, in the church's zone; null for today."""
    last_day: date | None = Field(
        default=None,
        description=f"Last day, which it includes; null for a year. At most {LONGEST_WINDOW_DAYS} days.",
    )


class InstanceThere(Model):
    """One occurrence in Planning Center."""

    pco_event_instance_id: str
    """Id of the occurrence in Planning Center."""
    title: str
    """Its name."""
    starts_at: Timestamp
    """When it begins; for an all-day occurrence midnight in the church's zone."""
    ends_at: Timestamp
    """When it ends."""
    first_day: date | None = Field(default=None, description="First day of an all-day occurrence.")
    last_day: date | None = Field(default=None, description="Last day of an all-day occurrence, which it includes.")
    location: str | None = None
    """Where it takes place."""
    linked_to: str | None = Field(default=None, description="Id of the event here to which it alone is linked.")


class EventThere(Model):
    """An event in Planning Center, with its occurrences on the days of the search."""

    pco_event_id: str
    """Id of the event in Planning Center."""
    title: str
    """Its name."""
    repeats: str | None = Field(default=None, description="How it repeats, in Planning Center's words; null if once.")
    url: str
    """Address of the event in Planning Center."""
    linked_to: str | None = Field(
        default=None, description="Id of the event here to which it, with all its occurrences, is linked."
    )
    instances: tuple[InstanceThere, ...]
    """Its occurrences on these days, at most 20 of them; none for an event without dates."""


class EventsThere(Model):
    """Events of Planning Center, in the order of their first occurrence."""

    items: tuple[EventThere, ...]
    """The events."""
    more: bool
    """Whether there are more: search with more of the name, or for fewer days."""
    time_zone: str = Field(description="IANA name of the church's zone.")


class Suggestion(Model):
    """An event in Planning Center that may be one here."""

    pco_event_id: str
    """Id of the event in Planning Center."""
    pco_event_instance_id: str | None = Field(
        default=None, description="Id of the occurrence to link; null to link the event with all its occurrences."
    )
    title: str
    """Its name."""
    starts_at: Timestamp
    """When the occurrence that fits best begins."""
    ends_at: Timestamp
    """When it ends."""
    first_day: date | None = Field(default=None, description="First day of an all-day occurrence.")
    last_day: date | None = Field(default=None, description="Last day of an all-day occurrence, which it includes.")
    location: str | None = None
    """Where it takes place."""
    strength: Literal["Very likely", "Likely", "Possible"]
    """How likely it is the same event."""
    reasons: tuple[str, ...]
    """Why, in words: `same day`, `98 % same title`."""
    url: str
    """Address of the event in Planning Center."""


class Suggestions(Model):
    """Candidates in Planning Center for an event, the most likely first."""

    items: tuple[Suggestion, ...]
    """The suggestions."""
    complete: bool = Field(
        default=True,
        description="Whether all that takes place there on the event's day and those beside it was compared; on days "
        "with very many events only a part is.",
    )


class Suggested(Model):
    """An event here that is not linked, and what it may be in Planning Center. A page has fewer of them than asked for
    where their days have very many events."""

    event: EventSummary
    """The event here."""
    suggestion: Suggestion | None
    """The most likely one; null if nothing is like it."""
    complete: bool = Field(default=True, description="As in `Suggestions`.")


class ComparisonQuery(ListQuery):
    """The links to make."""

    pco_event_id: PcoId
    """Id of the event in Planning Center."""
    pco_event_instance_id: PcoId | None = None
    """Id of the occurrence; null for the event with all its occurrences."""


class ComparedField(Model):
    """One field on both sides."""

    field: str
    """Name of the field."""
    here: Any = None
    """The value here, which would be overwritten."""
    there: Any = None
    """The value that would replace it."""


class ComparedOccurrence(Model):
    """One occurrence on both sides."""

    here: Occurrence | None = None
    """As it is here; null if it would be added."""
    there: Occurrence | None = None
    """As it would be; null if it would be taken out."""


class Comparison(Model):
    """The values here that a link would overwrite. Nothing in Planning Center changes."""

    pco_event_id: str
    """Id of the event in Planning Center."""
    pco_event_instance_id: str | None = None
    """Id of the occurrence, if one is to be linked."""
    title_there: str
    """Its name in Planning Center."""
    url: str
    """Address of the event in Planning Center."""
    linked_to: EventSummary | None = Field(
        default=None, description="The event here that is linked to it already, which forbids another link."
    )
    fields: tuple[ComparedField, ...]
    """Fields that would change."""
    added: int
    """Number of occurrences that would be added."""
    moved: int
    """Number of occurrences that would get other times."""
    taken_out: int
    """Number of occurrences that would be taken out."""
    occurrences: tuple[ComparedOccurrence, ...]
    """The first ten of each of the three."""
    note: str | None = Field(default=None, description="What could not be taken over, in a sentence.")
    version: int
    """Version of the event here that was compared."""
    digest: str
    """Names what was shown: a link with it is refused once either side has changed."""


class LinkInput(Intent):
    """A link to an event in Planning Center, or to one occurrence of it."""

    pco_event_id: PcoId
    """Id of the event in Planning Center."""
    pco_event_instance_id: PcoId | None = None
    """Id of the occurrence; null for the event with all its occurrences."""
    digest: Annotated[str, Field(max_length=64)] | None = Field(
        default=None,
        description="`digest` of the comparison that the person confirmed: 409 `comparison-moved` if either side has "
        "changed since. Null: unchecked.",
    )
    version: int | None = Field(default=None, ge=1)
    """The event's version shown to the person: 409 `version-conflict` if it has another by now. Null: unchecked."""


class OneOfLinks(LinkInput):
    """One of many links."""

    event_id: Annotated[str, Field(min_length=1, max_length=40)]
    """Id of the event here."""


class LinksInput(Intent):
    """Links that a person confirmed together."""

    links: tuple[OneOfLinks, ...] = Field(min_length=1, max_length=100)
    """Each is judged by itself: one that is refused does not stop the others."""


class LinkedOne(Model):
    """The outcome of one of many links."""

    event_id: str
    """Id of the event here."""
    event: EventDetails | None = Field(default=None, description="The event afterwards; null if it was not linked.")
    problem: str | None = Field(default=None, description="The `type` of the problem, such as `already-linked`.")
    sentence: str | None = Field(default=None, description="Why it was not linked, in words.")


class LinkedMany(Model):
    """The outcomes of many links, in the order in which they were sent."""

    items: tuple[LinkedOne, ...]
    """One for each link."""


class EventSync(Model):
    """One event being brought up to date from Planning Center."""

    id: str
    """Id of this sync."""
    event_id: str
    """Id of the event."""
    state: Literal["queued", "done"]
    """`queued` until the sync is done."""
    outcome: str | None = Field(
        default=None,
        description="`updated_here`, `unchanged`, `pushed`, `handed_off`, `unclear`, `taken`, `linked` (again), "
        "`missing`, `gone`, `not_linked`, `rejected`, `later` or `not_done`; null until done.",
    )
    sentence: str = Field(description="The result, or the cause of the wait, in words.")
    again_at: Timestamp | None = Field(
        default=None, description="When the event is read again, because Planning Center did not show it."
    )
    requested_at: Timestamp
    """When the sync was requested."""
    finished_at: Timestamp | None = None
    """When the sync was done; null until then."""


class EventPush(Model):
    """An event on its way to Planning Center, and whether events can be created there."""

    state: Literal["none", "asked", "waiting"]
    """`asked` while it is being created there; `waiting` until somebody has created it there, since Planning Center
    refuses that to others; `none` if nobody asked, or it is linked."""
    asked_at: Timestamp | None = Field(default=None, description="When somebody asked to have it there.")
    by_name: str | None = Field(default=None, description="Who asked.")
    note: str | None = Field(default=None, description="What keeps it from being there and linked, in a sentence.")
    may_create: bool | None = Field(
        default=None,
        description="Whether this church's Planning Center lets events be created, by its last answer; null before "
        "one.",
    )
    may_create_at: Timestamp | None = Field(default=None, description="When it answered so.")
    new_event_url: str
    """Address in Planning Center where staff create an event."""


class RestoreInput(Intent):
    """A value to put back."""

    entry_id: Annotated[str, Field(min_length=1, max_length=40)]
    """Id of the change in the event's history whose former value is put back."""
    version: int | None = Field(default=None, ge=1)
    """The event's version shown to the person: 409 `version-conflict` if it has another by now. Null: unchecked."""


class CalendarRunFilter(ListQuery):
    """Filters of the list of syncs."""

    state: RunState | None = None
    """Syncs in this state."""


class CalendarRunQuery(CalendarRunFilter, PageQuery):
    """A page of them."""


class EventChangeFilter(ListQuery):
    """The list behind one number of a sync."""

    outcome: str | None = Field(default=None, max_length=60)
    """Events with this outcome."""


class EventChangeQuery(EventChangeFilter, PageQuery):
    """A page of them."""


class EventChange(Model):
    """One event of a sync, and its outcome."""

    event_id: str
    """Id of the event."""
    title: str
    """Its title at that time."""
    outcome: str
    """The outcome, named as in the sync's numbers."""
    sentence: str
    """The outcome in words."""


class CalendarSettings(Model):
    """An administrator's settings of the Calendar sync."""

    poll_minutes: int = Field(default=5, ge=1, le=120, description="How often linked events are checked.")


class CalendarSettingsPatch(Intent):
    """Only the fields sent are changed."""

    poll_minutes: int | None = Field(default=None, ge=1, le=120)
    """How often linked events are checked."""


class FeedState(Model):
    """The church's private iCal feed, without its address: nobody can be told that again."""

    active: bool
    """Whether there is an address that can be read."""
    created_at: Timestamp | None
    """When the address was made; null if none ever was."""
    created_by_name: str | None
    """Name of the person who made it."""
    last_read_at: Timestamp | None
    """When a program last read it, to the precision of minutes."""
    revoked_at: Timestamp | None
    """When it was revoked; null while it can be read."""


class NewFeed(FeedState):
    """A feed whose address was made just now."""

    path: str = Field(
        description="Path of the feed at this origin, shown this once. Whoever knows it can read the events handed off "
        "without signing in, as `text/calendar`: keep it like a password. It replaces the address before.",
    )
