"""Events and their occurrences as rows, and in the shapes of answers and messages."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, cast
from uuid import UUID

from sqlalchemy import Select, Table, Text, Uuid, delete, func, insert, literal, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from calendar_sync.domain.changes import Whole, title_key
from calendar_sync.domain.events import Occurrence, Span, Times
from calendar_sync.storage.links import LINKED, rendered
from calendar_sync.storage.tables import Event, EventLink, OccurrenceRow
from contracts import calendar
from contracts.events.calendar_event_v1 import CalendarEvent
from synckit.among import among
from synckit.records import parse_id

_OCCURRENCE: Final = cast("Table", OccurrenceRow.__table__)
"""Thousands of rows at once skip what the ORM does for each."""


def by_id(organization_id: str, event_id: str) -> Select[Event]:
    """An event of the organization, also a deleted one. NotFound (404) for an id that is none."""
    return select(Event).where(Event.organization_id == organization_id, Event.id == parse_id(event_id, "event"))


async def occurrences_of(session: AsyncSession, events: Collection[Event]) -> dict[UUID, tuple[Occurrence, ...]]:
    """The occurrences of each of these events of one organization, in the order of their keys."""
    found: dict[UUID, list[Occurrence]] = {event.id: [] for event in events}
    if found:
        rows = await session.execute(
            select(*_OCCURRENCE.columns).where(
                OccurrenceRow.organization_id == next(iter(events)).organization_id,
                among(OccurrenceRow.event_id, found),
            )
        )
        for row in rows:
            span = Span(row.starts_at, row.ends_at, row.first_day, row.last_day)
            own = (row.title, row.location, row.moved, row.cancelled, row.pco_instance_id)
            found[row.event_id].append(Occurrence(row.key, span, *own))
    # Python's order, which decisions have too: that of the database depends on its locale.
    return {event_id: tuple(sorted(those, key=lambda one: one.key)) for event_id, those in found.items()}


def times_of(event: Event) -> Times:
    """When an event takes place."""
    span = Span(event.starts_at, event.ends_at, event.first_day, event.last_day)
    return Times(span, event.time_zone, event.recurrence)


def whole(event: Event, occurrences: tuple[Occurrence, ...]) -> Whole:
    """An event as a whole."""
    return Whole(event.title, event.location, event.description, times_of(event), occurrences, event.listed)


def take_over(event: Event, values: Whole) -> None:
    """Set the columns of an event."""
    event.title, event.title_key = values.title, title_key(values.title)
    event.location, event.description = values.location, values.description
    span = values.times.span
    event.starts_at, event.ends_at = span.starts_at, span.ends_at
    event.first_day, event.last_day = span.first_day, span.last_day
    event.time_zone, event.recurrence = values.times.time_zone, values.times.recurrence
    event.listed = values.listed
    held = [one.span for one in values.occurrences if not one.cancelled]
    event.first_starts_at = min(one.starts_at for one in held)
    event.last_ends_at = max(one.ends_at for one in held)
    event.occurrence_count = len(held)


@dataclass(slots=True)
class Writes:
    """Rows of occurrences to write for several events, in two statements."""

    gone: list[tuple[UUID, str]] = field(default_factory=list)
    added: list[dict[str, Any]] = field(default_factory=list)

    def replace(self, event: Event, before: Iterable[Occurrence], after: Iterable[Occurrence]) -> None:
        """Write what differs of one event."""
        was, now = {one.key: one for one in before}, {one.key: one for one in after}
        self.gone += [(event.id, key) for key, one in was.items() if now.get(key) != one]
        self.added += [_row(event, one) for key, one in now.items() if was.get(key) != one]

    async def write(self, session: AsyncSession, organization_id: str) -> None:
        """Execute them; the events are in the session."""
        await session.flush()
        if self.gone:
            ids, keys = zip(*self.gone, strict=True)
            arrays = (literal(list(ids), ARRAY(Uuid)), literal(list(keys), ARRAY(Text)))
            gone = func.unnest(*arrays).table_valued("event_id", "key").render_derived(name="gone")
            statement = delete(OccurrenceRow).where(
                OccurrenceRow.organization_id == organization_id,
                OccurrenceRow.event_id == gone.c.event_id,
                OccurrenceRow.key == gone.c.key,
            )
            await session.execute(statement, execution_options={"synchronize_session": False})
        if self.added:
            await session.execute(insert(_OCCURRENCE), self.added)


def _row(event: Event, one: Occurrence) -> dict[str, Any]:
    return {
        "event_id": event.id,
        "organization_id": event.organization_id,
        "key": one.key,
        "starts_at": one.span.starts_at,
        "ends_at": one.span.ends_at,
        "first_day": one.span.first_day,
        "last_day": one.span.last_day,
        "title": one.title,
        "location": one.location,
        "moved": one.moved,
        "cancelled": one.cancelled,
        "pco_instance_id": one.pco_instance_id,
    }


async def locked(session: AsyncSession, organization_id: str, external_ids: Collection[str]) -> dict[str, Event]:
    """Events that have one of these ids of the platform, also deleted ones, locked in the order of their ids."""
    rows = await session.scalars(
        select(Event)
        .where(Event.organization_id == organization_id, among(Event.external_id, external_ids))
        .order_by(Event.id)
        .with_for_update()
    )
    return {event.external_id: event for event in rows if event.external_id is not None}


def summary(event: Event, link: EventLink | None) -> calendar.EventSummary:
    """An event in a list."""
    return calendar.EventSummary(**_summary(event, link))


def details(event: Event, occurrences: Iterable[Occurrence], link: EventLink | None) -> calendar.EventDetails:
    """An event with its occurrences."""
    return calendar.EventDetails(**_summary(event, link), occurrences=rendered_occurrences(occurrences))


def of_fact(event: Event, occurrences: Iterable[Occurrence], link: EventLink | None) -> CalendarEvent:
    """An event as messages carry it."""
    ids = (link.pco_event_id, link.pco_instance_id) if link is not None and link.state == LINKED else (None, None)
    return CalendarEvent(
        **_values(event),
        occurrences=rendered_occurrences(occurrences),
        pco_event_id=ids[0],
        pco_event_instance_id=ids[1],
    )


def _summary(event: Event, link: EventLink | None) -> dict[str, Any]:
    return _values(event) | {
        "first_starts_at": event.first_starts_at,
        "last_ends_at": event.last_ends_at,
        "occurrence_count": event.occurrence_count,
        "version": event.version,
        "created_at": event.created_at,
        "listed": event.listed,
        "link": rendered(event, link),
    }


def _values(event: Event) -> dict[str, Any]:
    return {
        "id": str(event.id),
        "external_id": event.external_id,
        "title": event.title,
        "starts_at": event.starts_at,
        "ends_at": event.ends_at,
        "all_day": event.first_day is not None,
        "first_day": event.first_day,
        "last_day": event.last_day,
        "time_zone": event.time_zone,
        "location": event.location,
        "description": event.description,
        "recurrence": event.recurrence,
        "updated_at": event.updated_at,
    }


def rendered_occurrences(those: Iterable[Occurrence]) -> tuple[calendar.Occurrence, ...]:
    """Occurrences as answers and messages have them."""
    return tuple(
        calendar.Occurrence(
            key=one.key,
            starts_at=one.span.starts_at,
            ends_at=one.span.ends_at,
            first_day=one.span.first_day,
            last_day=one.span.last_day,
            title=one.title,
            location=one.location,
            moved=one.moved,
            cancelled=one.cancelled,
        )
        for one in those
    )
