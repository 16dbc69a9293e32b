"""Events and their occurrences, as messages and answers carry them."""

from datetime import date
from typing import Literal

from pydantic import Field

from contracts.base import Model, Timestamp


class Occurrence(Model):
    """One time at which an event takes place. A single event has one."""

    key: str = Field(
        description="The start that the rule gives this occurrence, in the event's zone, as iCalendar's "
        "`RECURRENCE-ID`: `20260405T090000`, or `20260405` for an all-day event. It stays when this occurrence alone "
        "is moved. Of a listed event: the start at which Planning Center had it first, with `-2` behind it if another "
        "occurrence had that.",
    )
    starts_at: Timestamp
    """When it begins; for an all-day event midnight in the event's zone."""
    ends_at: Timestamp
    """When it ends; for an all-day event the midnight after its last day."""
    first_day: date | None = Field(default=None, description="First day of an all-day event.")
    last_day: date | None = Field(default=None, description="Last day of an all-day event, which it includes.")
    title: str | None = Field(default=None, description="Title of its own; null for the event's.")
    location: str | None = Field(default=None, description="Location of its own; null for the event's.")
    moved: bool = Field(default=False, description="Whether it has times of its own instead of the rule's.")
    cancelled: bool = Field(
        default=False, description="Whether it was taken out of the series, and does not take place."
    )


class EventValues(Model):
    """A platform event. Instants are in UTC, shown in `time_zone`; the days of an all-day event hold in every zone."""

    id: str
    """Id of this event here; it never changes."""
    external_id: str | None = None
    """The platform's own id of this event."""
    title: str
    """Title of the event."""
    starts_at: Timestamp
    """When the event begins; the first occurrence of a series, as the rule gives it."""
    ends_at: Timestamp
    """When the event ends; the first occurrence of a series, as the rule gives it."""
    all_day: bool = False
    """Whether the event has days, and no times."""
    first_day: date | None = Field(default=None, description="First day of an all-day event.")
    last_day: date | None = Field(default=None, description="Last day of an all-day event, which it includes.")
    time_zone: str = Field(description="IANA name.")
    location: str | None = None
    """Where the event takes place."""
    description: str | None = None
    """Text about the event."""
    recurrence: str | None = Field(
        default=None,
        description="Rule of a series, as iCalendar's `RRULE`: `FREQ=WEEKLY;COUNT=10`. `UNTIL` is the last day, or an "
        "instant. Null for a single event.",
    )
    updated_at: Timestamp
    """When it was changed last."""


class EventLink(Model):
    """The link of an event with Planning Center Calendar."""

    pco_event_id: str
    """Id of the event in Planning Center."""
    pco_event_instance_id: str | None = Field(
        default=None, description="Id of the linked occurrence; null if the event with all its occurrences is linked."
    )
    state: Literal["linked", "gone"]
    """`gone`: deleted in Planning Center. The event stays here, and is linked again by itself if it returns."""
    title_there: str
    """Title in Planning Center, as read last."""
    url: str
    """Address of the event in Planning Center, for *Open in Planning Center*."""
    linked_at: Timestamp
    """When it was linked."""
    linked_by_name: str | None = Field(default=None, description="Who linked it; null if it was linked by itself.")
    missing_since: Timestamp | None = Field(
        default=None, description="Since when Planning Center has not shown it, until that is certain."
    )
    gone_at: Timestamp | None = Field(default=None, description="When it was found to be deleted in Planning Center.")
    note: str | None = Field(default=None, description="What the page says about it, in a sentence.")
    differs: tuple[str, ...] = Field(
        default=(),
        description="What was put back here and differs from Planning Center until somebody syncs the event by hand: "
        "`title`, `location`, `description`, `times`.",
    )
    read_at: Timestamp | None = Field(
        default=None,
        description="When it was last read at its own address, or changed by a check. Every check reads an event that "
        "takes place from yesterday to a year ahead (`checked_at` of the status); others at most once a day, a few in "
        "each check. One that has been over for a month is read only when somebody syncs it.",
    )


class EventSummary(EventValues):
    """An event, with the extent of its occurrences."""

    first_starts_at: Timestamp
    """When its first occurrence begins that was not taken out."""
    last_ends_at: Timestamp
    """When its last occurrence ends that was not taken out."""
    occurrence_count: int
    """Occurrences that were not taken out."""
    version: int = Field(ge=1)
    """Grows with every change of the event or one of its occurrences."""
    created_at: Timestamp
    """When the event was added."""
    listed: bool = Field(
        default=False,
        description="Whether its occurrences are listed one by one, as Planning Center has them, and follow from no "
        "rule. `recurrence` is null then.",
    )
    link: EventLink | None = Field(default=None, description="Its link with Planning Center; null if there is none.")


class EventDetails(EventSummary):
    """An event and its occurrences."""

    occurrences: tuple[Occurrence, ...]
    """All of them in the order of their keys, with those that were taken out; of a listed event at most 200 of these,
    the nearest to today. The history has them all."""


class ListedOccurrence(Model):
    """One occurrence in a calendar, with what it shows of its event."""

    event_id: str
    """Id of the event."""
    key: str
    """Key of this occurrence within the event."""
    title: str
    """Its own title, or the event's."""
    location: str | None
    """Its own location, or the event's."""
    starts_at: Timestamp
    """When it begins; for an all-day event midnight in the event's zone."""
    ends_at: Timestamp
    """When it ends; for an all-day event the midnight after its last day."""
    all_day: bool
    """Whether it has days, and no times."""
    first_day: date | None = Field(default=None, description="First day of an all-day event.")
    last_day: date | None = Field(default=None, description="Last day of an all-day event, which it includes.")
    time_zone: str = Field(description="IANA name of the event's zone.")
    series: bool
    """Whether the event is a series, or lists several occurrences."""
    moved: bool
    """Whether it has times of its own instead of the rule's."""
