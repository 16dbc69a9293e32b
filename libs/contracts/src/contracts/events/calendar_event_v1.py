"""`calendar.event.v1` (compacted): platform events and their links to Planning Center Calendar."""

from pydantic import Field

from contracts.base import Event as Fact
from contracts.base import Timestamp
from contracts.calendar import EventValues, Occurrence


class CalendarEvent(EventValues):
    """A platform event with its occurrences and its link."""

    occurrences: tuple[Occurrence, ...] = Field(
        default=(),
        description="All occurrences in the order of their keys, with those that were taken out; of a listed "
        "event at most 200 of these, the nearest to today. Empty in facts of versions before series.",
    )
    pco_event_id: str | None = None
    """Id of the event in Planning Center Calendar."""
    pco_event_instance_id: str | None = Field(default=None, description="Set when one occurrence is linked.")


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
