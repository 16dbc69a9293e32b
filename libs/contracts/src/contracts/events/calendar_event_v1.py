"""`calendar.event.v1` (compacted): platform events and their links to Planning Center Calendar."""

from pydantic import Field

from contracts.base import Event as Fact
from contracts.base import Model, Timestamp


class CalendarEvent(Model):
    """A platform event. Instants in UTC, shown in `time_zone`."""

    id: str
    external_id: str | None = None
    title: str
    starts_at: Timestamp
    ends_at: Timestamp
    all_day: bool = False
    time_zone: str = Field(description="IANA name.")
    location: str | None = None
    description: str | None = None
    pco_event_id: str | None = None
    pco_event_instance_id: str | None = Field(default=None, description="Set when one occurrence is linked.")
    updated_at: Timestamp


class CalendarEventFact(Fact):
    """The full state of one event; `version` is the event's."""

    event: CalendarEvent
    occurred_at: Timestamp

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


class EventRemoved(Fact):
    """An event was deleted here. A tombstone for the same key follows."""

    event_id: str
    removed_at: Timestamp

    @property
    def key(self) -> str:
        return self.event_id
