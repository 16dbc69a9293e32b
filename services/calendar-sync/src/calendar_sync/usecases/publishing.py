"""Facts of the events that one call changed."""

from datetime import datetime

from calendar_sync.domain.events import Occurrence
from calendar_sync.storage.events import of_fact
from calendar_sync.storage.tables import Event
from contracts.events.calendar_event_v1 import EventChanged, EventRemoved


def event_changed(event: Event, occurrences: tuple[Occurrence, ...], now: datetime) -> EventChanged:
    """The fact of an event whose version has been counted."""
    return EventChanged(
        organization_id=event.organization_id,
        version=event.version,
        event=of_fact(event, occurrences),
        occurred_at=now,
    )


def event_removed(event: Event, now: datetime) -> EventRemoved:
    """To be followed by a tombstone."""
    return EventRemoved(
        organization_id=event.organization_id, version=event.version, event_id=str(event.id), removed_at=now
    )
