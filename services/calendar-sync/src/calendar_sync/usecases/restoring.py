"""A value that Planning Center overwrote is put back, and stays until somebody syncs the event by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from calendar_sync.domain.changes import OCCURRENCE, Whole
from calendar_sync.domain.events import (
    Occurrence,
    Span,
    Times,
    Unacceptable,
    all_day,
    as_platform_says,
    own_texts_fault,
    times,
)
from calendar_sync.domain.taking_over import KEPT, TIMES
from calendar_sync.storage.links import links_of
from calendar_sync.storage.tables import Effect, Event
from calendar_sync.usecases.events import TIMES as FIELDS_OF_TIMES
from calendar_sync.usecases.events import Change, is_linked, locked, store
from calendar_sync.usecases.history import can_restore
from contracts.calendar import EventDetails
from contracts.http.calendar import RestoreInput
from contracts.values import EVENT
from servicekit.errors import Conflict, NotFound
from synckit.history import Actor
from synckit.records import parse_id

_CANNOT: Final = "This change cannot be put back alone. Edit the event instead."


async def restore(
    session: AsyncSession, organization_id: str, event_id: str, body: RestoreInput, actor: Actor, now: datetime
) -> EventDetails:
    """Put back the value before a change in the event's history.

    NotFound (404); Conflict (409) for a change that Planning Center did not make, or that cannot be put back.
    """
    event, before = await locked(session, organization_id, event_id, body.version)
    link = (await links_of(session, [event])).get(event.id)
    entry = await _entry(session, event, parse_id(body.entry_id, "change"))
    if not can_restore(event, entry):
        raise Conflict(_CANNOT, slug="cannot-undo")
    try:
        name, values = await _restored(session, event, before, entry)
    except (Unacceptable, KeyError, TypeError, ValueError) as error:
        raise Conflict(_CANNOT, slug="cannot-undo") from error
    if link is not None and is_linked(link) and values != before:
        link.kept = [one for one in KEPT if one == name or one in link.kept]
        await session.flush()
    return await store(session, event, before, values, Change(actor, now, link))


async def _entry(session: AsyncSession, event: Event, entry_id: UUID) -> Effect:
    query = select(Effect).where(Effect.record_id == event.id, Effect.kind == EVENT, Effect.entry_id == entry_id)
    entry = await session.scalar(query.where(Effect.organization_id == event.organization_id))
    if entry is None:
        raise NotFound("There is no such change of this event.")
    return entry


async def _restored(session: AsyncSession, event: Event, before: Whole, entry: Effect) -> tuple[str, Whole]:
    """The part that is kept from now on, and the event with it."""
    if entry.field in KEPT:
        return entry.field, replace(before, **{entry.field: entry.before})
    if entry.field == OCCURRENCE and before.listed:
        return TIMES, _with_occurrence(before, entry.before or {}, entry.after or {})
    return TIMES, _with_times(before, await _together(session, event, entry))


async def _together(session: AsyncSession, event: Event, entry: Effect) -> Sequence[Effect]:
    """The changes of dates that were made with this one: start and end make sense only together."""
    query = select(Effect).where(
        Effect.record_id == event.id,
        Effect.at == entry.at,
        Effect.by == entry.by,
        Effect.field.in_([*FIELDS_OF_TIMES, OCCURRENCE]),
    )
    return (await session.scalars(query.order_by(Effect.id))).all()


def _with_times(before: Whole, those: Sequence[Effect]) -> Whole:
    """The event with its former start, end, zone and rule, and what single occurrences had of their own. Unacceptable;
    ValueError for a history that does not say it all.
    """
    was = {one.field: _value(one.field, one.before) for one in those if one.field != OCCURRENCE}
    was.setdefault("time_zone", before.times.time_zone)
    own = [one.before for one in those if one.field == OCCURRENCE and one.before is not None]
    if before.listed and "recurrence" not in was and len(before.occurrences) > 1:
        raise ValueError("dates of a list are those of its occurrences")
    at = times(_without_dates(before.times, was), {name: value for name, value in was.items() if value is not None})
    if "recurrence" in was and was["recurrence"] is None:
        at = replace(at, recurrence=None)
    excluded = [one["key"] for one in own if one.get("cancelled")]
    moved = [{name: _value(name, value) for name, value in one.items() if name != "cancelled"} for one in own]
    moved = [one for one in moved if len(one) > 1]
    found = as_platform_says(at, None, (), excluded or None, moved or None)
    if fault := own_texts_fault(found):
        raise Unacceptable(fault)
    return replace(before, times=at, occurrences=tuple(found), listed=False)


def _without_dates(of: Times, was: Mapping[str, Any]) -> Times | None:
    """The present times, unless the former ones say it all: an event with days has no times."""
    return None if {"starts_at", "ends_at", "first_day", "last_day"} & was.keys() and _whole_span(was) else of


def _whole_span(was: Mapping[str, Any]) -> bool:
    days = was.get("first_day") is not None and was.get("last_day") is not None
    return days or (was.get("starts_at") is not None and was.get("ends_at") is not None)


def _with_occurrence(before: Whole, was: Mapping[str, Any], now: Mapping[str, Any]) -> Whole:
    """A listed event with one occurrence as it was. KeyError if the list has it no more."""
    key = was.get("key") or now["key"]
    found = {one.key: one for one in before.occurrences}
    one = found[key]
    if not was:
        found[key] = replace(one, cancelled=True)
    else:
        found[key] = replace(
            one,
            span=_span(was, before.times.time_zone) or one.span,
            title=was.get("title"),
            location=was.get("location"),
            cancelled=bool(was.get("cancelled")),
        )
    return _beginning_with_the_first(before, tuple(found.values()))


def _beginning_with_the_first(before: Whole, those: tuple[Occurrence, ...]) -> Whole:
    active = [one for one in those if not one.cancelled]
    if not active:
        raise ValueError("no occurrence left")
    first = min(active, key=lambda one: (one.span.starts_at, one.key))
    return replace(before, occurrences=those, times=Times(first.span, before.times.time_zone))


def _span(was: Mapping[str, Any], zone: str) -> Span | None:
    if was.get("first_day"):
        return all_day(date.fromisoformat(was["first_day"]), date.fromisoformat(was["last_day"]), zone)
    if was.get("starts_at"):
        return Span(datetime.fromisoformat(was["starts_at"]), datetime.fromisoformat(was["ends_at"]))
    return None


def _value(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name in {"starts_at", "ends_at"}:
        return datetime.fromisoformat(value)
    return date.fromisoformat(value) if name in {"first_day", "last_day"} else value
