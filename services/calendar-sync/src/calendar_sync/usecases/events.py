"""Events: added, changed, deleted and listed here.

A change counts the event's version, writes its history and publishes the event, all in the caller's transaction.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import ColumnElement, delete, false, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession

from calendar_sync.domain.changes import Whole, changes
from calendar_sync.domain.events import (
    Occurrence,
    Unacceptable,
    changed,
    named,
    occurrences,
    own_texts_fault,
    ruled_span,
    times,
)
from calendar_sync.storage.events import Writes, by_id, details, occurrences_of, summary, take_over, whole
from calendar_sync.storage.tables import CalendarConnection, Event, OccurrenceRow
from calendar_sync.usecases import history
from calendar_sync.usecases.history import CREATED
from calendar_sync.usecases.publishing import event_changed, event_removed
from contracts.calendar import EventDetails, EventSummary
from contracts.http.calendar import EventInput, EventPatch, EventQuery, OccurrencePatch
from contracts.http.common import Page
from contracts.values import EVENT
from servicekit.errors import Conflict, Invalid, NotFound
from servicekit.http.paging import contains
from servicekit.kafka.outbox import append
from synckit import by_key
from synckit.history import DELETED, Actor, Noted
from synckit.records import check_version
from synckit.text import fold

TIMES: Final = ("starts_at", "ends_at", "first_day", "last_day", "time_zone", "recurrence")
TEXTS: Final = ("title", "location", "description")
_NOTHING: Final[ColumnElement[str]] = literal_column("''")
_TRIGRAM: Final = 3
"""A shorter text would make PostgreSQL read the whole trigram index."""


async def create(
    session: AsyncSession, organization_id: str, body: EventInput, actor: Actor, now: datetime
) -> EventDetails:
    """Add an event. Conflict (409) if the platform's id is taken, Invalid (422) with the fields that are wrong."""
    sent = values_sent(body)
    zone = sent.get("time_zone") or await church_zone(session, organization_id)
    with refusing():
        values = new_values(sent, zone)
    if body.external_id is not None:
        taken = select(Event.id).where(Event.organization_id == organization_id, Event.external_id == body.external_id)
        if await session.scalar(taken):
            raise Conflict(
                "There is, or was, an event with this external_id: change that one, or send it to /calendar/bulk.",
                slug="external-id-taken",
            )
    event = new_event(organization_id, values, body.external_id, now)
    session.add(event)
    writes = Writes()
    writes.replace(event, (), values.occurrences)
    await writes.write(session, organization_id)
    await history.note(session, organization_id, actor, [Noted(EVENT, event.id, CREATED, False, True)], now)
    await append(session, event_changed(event, values.occurrences, now))
    return details(event, values.occurrences)


async def change(
    session: AsyncSession, organization_id: str, event_id: str, body: EventPatch, actor: Actor, now: datetime
) -> EventDetails:
    """Change the fields that were sent. Conflict (409) if the event moved on since the version the person saw."""
    event, before = await _locked(session, organization_id, event_id, body.version)
    sent = values_sent(body)
    if "time_zone" in sent and sent["time_zone"] is None:
        sent["time_zone"] = await church_zone(session, organization_id) or ""
    with refusing():
        after = values_after(before, sent)
    return await _set(session, event, before, after, actor, now)


async def change_occurrence(
    session: AsyncSession,
    organization_id: str,
    event_id: str,
    key: str,
    body: OccurrencePatch,
    actor: Actor,
    now: datetime,
) -> EventDetails:
    """Change one occurrence of a series. NotFound (404), Conflict (409) as `change`, and for a single event."""
    event, before = await _locked(session, organization_id, event_id, body.version)
    one = _one(before, key)
    sent = {name: getattr(body, name) for name in body.model_fields_set}
    with refusing():
        own = changed(one, before.times.time_zone, ruled_span(before.times, one.key), _texts(sent))
        after = replace(before, occurrences=tuple(own if each is one else each for each in before.occurrences))
        if fault := own_texts_fault(after.occurrences):
            raise Unacceptable(fault)
    return await _set(session, event, before, after, actor, now)


async def take_out(
    session: AsyncSession, organization_id: str, event_id: str, key: str, actor: Actor, now: datetime
) -> EventDetails:
    """Cancel one occurrence of a series; what it has of its own stays, should it be brought back."""
    body = OccurrencePatch(cancelled=True)
    return await change_occurrence(session, organization_id, event_id, key, body, actor, now)


async def remove(session: AsyncSession, organization_id: str, event_id: str, actor: Actor, now: datetime) -> None:
    """Delete here, with all occurrences."""
    event, _ = await _locked(session, organization_id, event_id, None)
    event.deleted_at = event.updated_at = now
    event.version += 1
    await session.execute(
        delete(OccurrenceRow).where(
            OccurrenceRow.organization_id == organization_id, OccurrenceRow.event_id == event.id
        )
    )
    await history.note(session, organization_id, actor, [Noted(EVENT, event.id, DELETED, False, True)], now)
    await append(session, event_removed(event, now), tombstone=True)


async def get(session: AsyncSession, organization_id: str, event_id: str) -> EventDetails:
    """One event. NotFound (404)."""
    event = await find(session, organization_id, event_id)
    return details(event, (await occurrences_of(session, [event]))[event.id])


async def find(session: AsyncSession, organization_id: str, event_id: str, *, deleted: bool = False) -> Event:
    """An event's row. NotFound (404) also for an id that is none, and another organization's."""
    event = await session.scalar(by_id(organization_id, event_id))
    if event is None or (event.deleted_at is not None and not deleted):
        raise _missing()
    return event


async def events(session: AsyncSession, organization_id: str, query: EventQuery) -> Page[EventSummary]:
    """A page of events by title; the total comes with the first page, unless a search finds very many."""
    found = None
    if query.q:
        words = fold(query.q).split()
        every = select(Event.id).where(*by_key.here(Event, organization_id), *_has(Event, words))
        found = by_key.Found(lambda event: _has(event, words), every)
    rows, total = await by_key.page_of(session, Event, organization_id, "title_key", found, query)
    if total is None and not query.after:
        if found is None:
            total = await by_key.count(session, Event, organization_id)
        else:
            total = await by_key.count_searched(session, found.every, found.every)
    shown = tuple(summary(event) for event in rows[: query.limit])
    return Page[EventSummary](items=shown, next=by_key.behind(rows, "title_key", query), total=total)


def _has(event: Any, words: list[str]) -> list[ColumnElement[bool]]:
    columns = {True: event.title_key, False: event.title_key.op("||")(_NOTHING)}
    return [columns[len(word) >= _TRIGRAM].like(contains(word)) for word in words] or [false()]


async def church_zone(session: AsyncSession, organization_id: str) -> str | None:
    """The church's own zone (IANA), if it is known."""
    zone: str | None = await session.scalar(
        select(CalendarConnection.time_zone).where(CalendarConnection.organization_id == organization_id)
    )
    return zone


@contextmanager
def refusing() -> Iterator[None]:
    """Answer what an event cannot be with Invalid (422)."""
    try:
        yield
    except Unacceptable as error:
        raise Invalid(
            "Correct the fields named in `errors` and send it again. Nothing was changed.",
            errors=[{"field": field, "message": message} for field, message in error.faults],
        ) from error


def values_sent(body: EventInput | EventPatch) -> dict[str, Any]:
    """The values of an event that were sent."""
    return _texts({name: getattr(body, name) for name in (*TIMES, *TEXTS) if name in body.model_fields_set})


def _texts(sent: Mapping[str, Any]) -> dict[str, Any]:
    """Values as the calendar holds them: an empty text is none."""
    return {name: value if value != "" else None for name, value in sent.items()}


def new_values(sent: Mapping[str, Any], zone: str | None) -> Whole:
    """A new event. Unacceptable."""
    if zone is None:
        raise Unacceptable(("time_zone", "is required, because the church's own is not known: send an IANA name"))
    at = times(None, {**sent, "time_zone": zone})
    return Whole(sent["title"], sent.get("location"), sent.get("description"), at, tuple(occurrences(at)))


def values_after(before: Whole, sent: Mapping[str, Any]) -> Whole:
    """An event after a change of the fields that are sent. Unacceptable."""
    after = replace(before, **{name: sent[name] for name in TEXTS if name in sent})
    if not sent.keys() & set(TIMES):
        return after
    at = times(before.times, sent)
    return replace(after, times=at, occurrences=tuple(occurrences(at, before.times, before.occurrences)))


def new_event(organization_id: str, values: Whole, external_id: str | None, now: datetime) -> Event:
    """A row that is not in the session yet."""
    event = Event(
        id=uuid4(), organization_id=organization_id, external_id=external_id, version=1, created_at=now, updated_at=now
    )
    take_over(event, values)
    return event


def notes(event: Event, before: Whole, after: Whole) -> list[Noted]:
    """History rows of a change."""
    return [Noted(EVENT, event.id, one.field, one.before, one.after) for one in changes(before, after)]


async def _locked(session: AsyncSession, organization_id: str, event_id: str, seen: int | None) -> tuple[Event, Whole]:
    event = await session.scalar(by_id(organization_id, event_id).with_for_update())
    if event is None or event.deleted_at is not None:
        raise _missing()
    check_version(seen, event.version, "event")
    return event, whole(event, (await occurrences_of(session, [event]))[event.id])


def _one(of: Whole, key: str) -> Occurrence:
    if of.times.recurrence is None:
        raise Conflict("This event has no other occurrence: change or delete the event.", slug="single-event")
    one = named(of.occurrences, key)
    if one is None:
        raise NotFound("There is no such occurrence in this event.")
    return one


async def _set(
    session: AsyncSession, event: Event, before: Whole, after: Whole, actor: Actor, now: datetime
) -> EventDetails:
    if before != after:
        if all(one.cancelled for one in after.occurrences):
            raise Conflict("This is the last occurrence: delete the event instead.", slug="last-occurrence")
        take_over(event, after)
        event.version += 1
        event.updated_at = now
        writes = Writes()
        writes.replace(event, before.occurrences, after.occurrences)
        await writes.write(session, event.organization_id)
        await history.note(session, event.organization_id, actor, notes(event, before, after), now)
        await append(session, event_changed(event, after.occurrences, now))
    return details(event, after.occurrences)


def _missing() -> NotFound:
    return NotFound("There is no such event.")
