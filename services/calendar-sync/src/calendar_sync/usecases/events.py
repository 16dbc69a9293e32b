"""Events: added, changed, deleted and listed here.

A change counts the event's version, writes its history and publishes the event, all in the caller's transaction.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
from calendar_sync.domain.sentences import DATES_ARE_THEIRS
from calendar_sync.storage.events import Writes, by_id, details, occurrences_of, summary, take_over, whole
from calendar_sync.storage.links import LINKED, has_link, links_of
from calendar_sync.storage.tables import CalendarConnection, Event, EventLink, OccurrenceRow, Push
from calendar_sync.usecases import history
from calendar_sync.usecases.history import CREATED, EDITED, Cause
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
    await append(session, event_changed(event, values.occurrences, None, now))
    return details(event, values.occurrences, None)


async def change(
    session: AsyncSession, organization_id: str, event_id: str, body: EventPatch, actor: Actor, now: datetime
) -> EventDetails:
    """Change the fields that were sent. Conflict (409) if the event moved on since the version the person saw."""
    event, before = await locked(session, organization_id, event_id, body.version)
    link = (await links_of(session, [event])).get(event.id)
    sent = values_sent(body)
    if "time_zone" in sent and sent["time_zone"] is None:
        sent["time_zone"] = await church_zone(session, organization_id) or ""
    with refusing():
        try:
            after = values_after(before, sent, linked=is_linked(link))
        except DatesAreTheirs as error:
            raise Conflict(DATES_ARE_THEIRS, slug="dates-from-planning-center") from error
    return await store(session, event, before, after, Change(actor, now, link))


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
    event, before = await locked(session, organization_id, event_id, body.version)
    link = (await links_of(session, [event])).get(event.id)
    one = _one(before, key)
    sent = {name: getattr(body, name) for name in body.model_fields_set}
    with refusing():
        ruled = one.span if before.listed else ruled_span(before.times, one.key)
        own = changed(one, before.times.time_zone, ruled, _texts(sent))
        if before.listed:
            own = replace(own, moved=False)
        after = replace(before, occurrences=tuple(own if each is one else each for each in before.occurrences))
        if fault := own_texts_fault(after.occurrences):
            raise Unacceptable(fault)
    return await store(session, event, before, after, Change(actor, now, link))


async def take_out(
    session: AsyncSession, organization_id: str, event_id: str, key: str, actor: Actor, now: datetime
) -> EventDetails:
    """Cancel one occurrence of a series; what it has of its own stays, should it be brought back."""
    body = OccurrencePatch(cancelled=True)
    return await change_occurrence(session, organization_id, event_id, key, body, actor, now)


async def remove(session: AsyncSession, organization_id: str, event_id: str, actor: Actor, now: datetime) -> None:
    """Delete here, with all occurrences."""
    event, _ = await locked(session, organization_id, event_id, None)
    event.deleted_at = event.updated_at = now
    event.version += 1
    await session.execute(
        delete(OccurrenceRow).where(
            OccurrenceRow.organization_id == organization_id, OccurrenceRow.event_id == event.id
        )
    )
    of_event = delete(EventLink).where(EventLink.organization_id == organization_id, EventLink.event_id == event.id)
    await session.execute(of_event)
    await session.execute(delete(Push).where(Push.organization_id == organization_id, Push.event_id == event.id))
    await history.note(session, organization_id, actor, [Noted(EVENT, event.id, DELETED, False, True)], now)
    await append(session, event_removed(event, now), tombstone=True)


async def get(session: AsyncSession, organization_id: str, event_id: str) -> EventDetails:
    """One event. NotFound (404)."""
    event = await find(session, organization_id, event_id)
    link = (await links_of(session, [event])).get(event.id)
    return details(event, (await occurrences_of(session, [event]))[event.id], link)


async def find(session: AsyncSession, organization_id: str, event_id: str, *, deleted: bool = False) -> Event:
    """An event's row. NotFound (404) also for an id that is none, and another organization's."""
    event = await session.scalar(by_id(organization_id, event_id))
    if event is None or (event.deleted_at is not None and not deleted):
        raise _missing()
    return event


async def events(session: AsyncSession, organization_id: str, query: EventQuery) -> Page[EventSummary]:
    """A page of events by title; the total comes with the first page, unless a search finds very many."""
    found = None
    if query.q or query.state:
        words = fold(query.q).split() if query.q else None

        def fits(event: Any) -> list[ColumnElement[bool]]:
            state = [_in_state(event, organization_id, query.state)] if query.state else []
            return [*(_has(event, words) if words is not None else []), *state]

        every = select(Event.id).where(*by_key.here(Event, organization_id), *fits(Event))
        found = by_key.Found(fits, every, few=query.state == "gone")
    rows, total = await by_key.list_of(session, Event, organization_id, "title_key", found, query)
    links = await links_of(session, rows)
    shown = tuple(summary(event, links.get(event.id)) for event in rows[: query.limit])
    return Page[EventSummary](items=shown, next=by_key.behind(rows, "title_key", query), total=total)


def _in_state(event: Any, organization_id: str, state: str) -> ColumnElement[bool]:
    if state == "unlinked":
        return ~has_link(event, organization_id)
    return has_link(event, organization_id, state)


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


class DatesAreTheirs(Exception):
    """The dates of an event come from Planning Center."""

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field


def is_linked(link: EventLink | None) -> bool:
    """Whether Planning Center has the event."""
    return link is not None and link.state == LINKED


def values_after(before: Whole, sent: Mapping[str, Any], *, linked: bool) -> Whole:
    """An event after a change of the fields that are sent. Unacceptable; DatesAreTheirs for other dates of a list."""
    after = replace(before, **{name: sent[name] for name in TEXTS if name in sent})
    if not sent.keys() & set(TIMES):
        return after
    at = times(before.times, sent)
    if not before.listed:
        return replace(after, times=at, occurrences=tuple(occurrences(at, before.times, before.occurrences)))
    if at == before.times:
        return after
    if linked:
        raise DatesAreTheirs(next(name for name in TIMES if name in sent))
    return replace(after, times=at, occurrences=tuple(occurrences(at)), listed=False)


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


async def locked(session: AsyncSession, organization_id: str, event_id: str, seen: int | None) -> tuple[Event, Whole]:
    """An event, locked, and as a whole. NotFound (404); Conflict (409) if it has moved on since the version `seen`."""
    query = by_id(organization_id, event_id).with_for_update()
    event = await session.scalar(query.execution_options(populate_existing=True))
    if event is None or event.deleted_at is not None:
        raise _missing()
    check_version(seen, event.version, "event")
    return event, whole(event, (await occurrences_of(session, [event]))[event.id])


def _one(of: Whole, key: str) -> Occurrence:
    if of.times.recurrence is None and not (of.listed and len(of.occurrences) > 1):
        raise Conflict("This event has no other occurrence: change or delete the event.", slug="single-event")
    one = named(of.occurrences, key)
    if one is None:
        raise NotFound("There is no such occurrence in this event.")
    return one


@dataclass(frozen=True, slots=True)
class Change:
    """The author, time and cause of a change."""

    actor: Actor
    now: datetime
    link: EventLink | None = None
    cause: Cause = EDITED


async def store(session: AsyncSession, event: Event, before: Whole, after: Whole, change: Change) -> EventDetails:
    """Write what differs of an event that is locked: its row, occurrences, version, history and fact.

    Conflict (409) if nothing would take place.
    """
    if before != after:
        if all(one.cancelled for one in after.occurrences):
            raise Conflict("This is the last occurrence: delete the event instead.", slug="last-occurrence")
        await write(session, event, before, after, change)
        await append(session, event_changed(event, after.occurrences, change.link, change.now))
    return details(event, after.occurrences, change.link)


async def write(session: AsyncSession, event: Event, before: Whole, after: Whole, change: Change) -> None:
    """As `store`, without the fact."""
    take_over(event, after)
    event.version += 1
    event.updated_at = change.now
    writes = Writes()
    writes.replace(event, before.occurrences, after.occurrences)
    await writes.write(session, event.organization_id)
    found = notes(event, before, after)
    await history.note(session, event.organization_id, change.actor, found, change.now, change.cause)


def _missing() -> NotFound:
    return NotFound("There is no such event.")
