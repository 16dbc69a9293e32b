"""`calendar.event.v1` (compacted): platform events and their links to Planning Center Calendar."""

from pydantic import Field

from contracts.base import Event as Fact
from contracts.base import Model, Timestamp


class CalendarEvent(Model):
    """A platform event. Instants in UTC, shown in `time_zone`."""

    id: str
    """Id of this event here; it never changes."""
    external_id: str | None = None
    """The platform's own id of this event."""
    title: str
    """Title of the event."""
    starts_at: Timestamp
    """When the event begins."""
    ends_at: Timestamp
    """When the event ends."""
    all_day: bool = False
    """Whether the event has days, and no times."""
    time_zone: str = Field(description="IANA name.")
    location: str | None = None
    """Where the event takes place."""
    description: str | None = None
    """Text about the event."""
    pco_event_id: str | None = None
    """Id of the event in Planning Center Calendar."""
    pco_event_instance_id: str | None = Field(default=None, description="Set when one occurrence is linked.")
    updated_at: Timestamp
    """When it was changed last."""


class CalendarEventFact(Fact):
    """The full state of one event; `version` is the event's."""

    event: CalendarEvent
    """The event after the change."""
    occurred_at: Timestamp
    """When it happened."""

    @property
    def key(self) -> str:
        return self.event.id


class EventChanged(CalendarEventFact):
    """An event was added or its values changed."""


class EventLinked(CalendarEventFact):
    """An event was linked to Planning Center."""


class EventUnlinked(CalendarEventFact):
    """A link was taken away, by a person or because the event is gone in Planning Center. The event stays."""

    reason: str
    """Why the link was taken away."""


class EventRemoved(Fact):
    """An event was deleted here. A tombstone for the same key follows."""

    event_id: str
    """Id of the event."""
    removed_at: Timestamp
    """When it was deleted."""

    @property
    def key(self) -> str:
        return self.event_id
