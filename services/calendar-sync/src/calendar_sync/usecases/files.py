"""The lists as files: which columns, and the lines of one item."""

from collections.abc import Iterator
from typing import Any, Final

from contracts.calendar import EventSummary, ListedOccurrence
from contracts.http.calendar import EventChange

Lines = Iterator[tuple[Any, ...]]

EVENTS: Final = (
    "Title",
    "Begins",
    "Ends",
    "First day",
    "Last day",
    "Time zone",
    "Location",
    "Description",
    "Repeats",
    "Occurrences",
    "Our id",
    "Platform's id",
    "Planning Center",
    "Event there",
)
CHANGES: Final = ("Title", "Outcome", "What happened", "Our id")
OCCURRENCES: Final = (
    "Title",
    "Begins",
    "Ends",
    "First day",
    "Last day",
    "Time zone",
    "Location",
    "Series",
    "Moved",
    "Key",
    "Our id",
)


def of_event(one: EventSummary) -> Lines:
    """One event."""
    about = (one.time_zone, one.location, one.description, one.recurrence, one.occurrence_count)
    link = (one.link.state, one.link.url) if one.link else (None, None)
    yield (one.title, *_span(one), *about, one.id, one.external_id, *link)


def of_change(one: EventChange) -> Lines:
    """One event of a sync."""
    yield (one.title, one.outcome, one.sentence, one.event_id)


def of_occurrence(one: ListedOccurrence) -> Lines:
    """One occurrence."""
    yield (one.title, *_span(one), one.time_zone, one.location, one.series, one.moved, one.key, one.event_id)


def _span(one: EventSummary | ListedOccurrence) -> tuple[Any, ...]:
    """Times, or days."""
    if one.all_day:
        return None, None, one.first_day, one.last_day
    return one.starts_at, one.ends_at, None, None
