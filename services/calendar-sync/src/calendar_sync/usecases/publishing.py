"""Facts of the events that one call changed."""

from datetime import datetime
from typing import Any, Final

from calendar_sync.domain.events import Occurrence
from calendar_sync.storage.events import of_fact
from calendar_sync.storage.tables import Event, EventLink
from contracts.events.calendar_event_v1 import EventChanged, EventLinked, EventRemoved, EventUnlinked

BY_A_PERSON: Final = "person"
DELETED_THERE: Final = "deleted in Planning Center"
"""Why a link was taken away."""


def event_changed(
    event: Event, occurrences: tuple[Occurrence, ...], link: EventLink | None, now: datetime
) -> EventChanged:
    """The fact of an event whose version has been counted."""
    return EventChanged(**_fact(event, occurrences, link, now))


def event_linked(event: Event, occurrences: tuple[Occurrence, ...], link: EventLink, now: datetime) -> EventLinked:
    """The fact of an event that was linked, with what it took over."""
    return EventLinked(**_fact(event, occurrences, link, now))


def event_unlinked(event: Event, occurrences: tuple[Occurrence, ...], reason: str, now: datetime) -> EventUnlinked:
    """The fact of an event without its link."""
    return EventUnlinked(**_fact(event, occurrences, None, now), reason=reason)


def _fact(event: Event, occurrences: tuple[Occurrence, ...], link: EventLink | None, now: datetime) -> dict[str, Any]:
    return {
        "organization_id": event.organization_id,
        "version": event.version,
        "event": of_fact(event, occurrences, link),
        "occurred_at": now,
    }


def event_removed(event: Event, now: datetime) -> EventRemoved:
    """To be followed by a tombstone."""
    return EventRemoved(
        organization_id=event.organization_id, version=event.version, event_id=str(event.id), removed_at=now
    )
