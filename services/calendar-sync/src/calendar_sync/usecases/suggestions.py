"""Candidates in Planning Center for events here, compared day by day.

Only the days of the events are read, in a bounded number of requests: what these do not reach is on the next page.
"""

from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Final, Literal, cast
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from calendar_sync.domain import suggest
from calendar_sync.domain.events import Span
from calendar_sync.domain.planning_center import span_of
from calendar_sync.domain.suggest import ByDay, Candidate, Local
from calendar_sync.domain.window import HORIZON, UNKNOWN_DENSITY, Window
from calendar_sync.domain.zones import local_time, midnight
from calendar_sync.planning_center import Met, read_window, url_of
from calendar_sync.resources import Resources
from calendar_sync.storage.events import occurrences_of, summary
from calendar_sync.storage.links import has_link, linked_to
from calendar_sync.storage.tables import CalendarConnection, Event, OccurrenceRow
from calendar_sync.usecases import events
from calendar_sync.usecases.there import Asked, asking
from contracts.http.calendar import Suggested, Suggestion, Suggestions
from contracts.http.common import Page, PageQuery
from servicekit.http.paging import decode, encode, instant

MOST_REQUESTS: Final = 12
"""Of one answer, for which a person waits."""
_AHEAD: Final = 4
"""Requests under way at the same time: so many, less one, may go beyond `MOST_REQUESTS`."""
_ROWS: Final = 99
"""Occurrences that a further request brings."""
_MOST_ROWS: Final = 4 * _ROWS
"""Occurrences that a window may be expected to have: one that is not read whole is of no use."""
_DAY: Final = timedelta(days=1)
_WORDS: Final = {"Daily": "daily", "Weekly": "weekly", "Monthly": "monthly", "Yearly": "yearly"}
"""`recurrence` of Planning Center; others stand for themselves."""


async def of_event(resources: Resources, organization_id: str, event_id: str) -> Suggestions:
    """The candidates for one event, the most likely first. NotFound (404)."""
    now = resources.clock.now()
    async with resources.runtime.sessions() as session:
        event = await events.find(session, organization_id, event_id)
        those = (await occurrences_of(session, [event]))[event.id]
    spans = sorted((one.span for one in those if not one.cancelled), key=lambda span: span.starts_at)
    local = _local(event, next((span for span in spans if span.ends_at >= now), spans[-1]))
    async with asking(resources, organization_id) as asked:
        day, density = _day(local.span, asked.zone), await _density(resources, asked)
        days = [(day - _DAY, day + _DAY)]
        if 3 * density > _MOST_ROWS:
            # The best ones are of the same day.
            days = [(day, day), (day - _DAY, day - _DAY), (day + _DAY, day + _DAY)]
        seen = await _seen(asked, [_window(first, last, asked.zone) for first, last in days])
        by_day = ByDay(await _free(resources, asked, seen.met), asked.zone)
    found = suggest.suggest(local, by_day)
    complete = not seen.partly and seen.windows == len(days) and by_day.has_all(local.span)
    return Suggestions(items=tuple(_rendered(one, local) for one in found), complete=complete)


async def upcoming(resources: Resources, organization_id: str, query: PageQuery) -> Page[Suggested]:
    """A page of events without a link, in the order of their next occurrence, each with its most likely suggestion.

    It is shorter than asked for if the days of further events would take too many requests.
    """
    now = resources.clock.now()
    async with resources.runtime.sessions() as session:
        rows = await _unlinked(session, organization_id, query, now)
    page = rows[: query.limit]
    items: list[Suggested] = []
    if page:
        async with asking(resources, organization_id) as asked:
            days = [_day(span, asked.zone) for _, span in page]
            stretches = suggest.stretches(days, await _density(resources, asked), _ROWS, _MOST_ROWS)
            seen = await _seen(asked, [_window(one.first, one.last, asked.zone) for one in stretches])
            by_day = ByDay(await _free(resources, asked, seen.met), asked.zone)
        page = page[: sum(one.days for one in stretches[: seen.windows]) or 1]
        for event, span in page:
            local = _local(event, span)
            found = next(iter(suggest.suggest(local, by_day)), None)
            rendered = _rendered(found, local) if found else None
            complete = not seen.partly and by_day.has_all(span)
            items.append(Suggested(event=summary(event, None), suggestion=rendered, complete=complete))
    after = None
    if len(rows) > len(page):
        event, span = page[-1]
        after = encode(span.starts_at.isoformat(), str(event.id))
    return Page[Suggested](items=tuple(items), next=after)


async def _unlinked(
    session: AsyncSession, organization_id: str, query: PageQuery, now: datetime
) -> list[tuple[Event, Span]]:
    """Events without a link with their next occurrence, one more than the page holds."""
    row = OccurrenceRow
    following = (
        select(row.event_id, func.min(row.starts_at).label("starts_at"))
        .where(row.organization_id == organization_id, ~row.cancelled, row.starts_at < now + HORIZON, row.ends_at > now)
        .group_by(row.event_id)
        .subquery("following")
    )
    statement = (
        select(Event, following.c.starts_at)
        .join(following, following.c.event_id == Event.id)
        .where(Event.deleted_at.is_(None), ~has_link(Event, organization_id))
    )
    place = (following.c.starts_at, Event.id)
    if query.after:
        statement = statement.where(func.row(*place) > func.row(*decode(query.after, instant, UUID)))
    found = (await session.execute(statement.order_by(*place).limit(query.limit + 1))).all()
    those = await occurrences_of(session, [event for event, _ in found])
    rows = []
    for event, starts_at in found:
        spans = [one.span for one in those[event.id] if not one.cancelled and one.span.starts_at == starts_at]
        # An occurrence may have moved between the two reads.
        rows += [(event, span) for span in spans[:1]]
    return rows


def _local(event: Event, span: Span) -> Local:
    return Local(event.title, span, event.location, suggest.frequency(event.recurrence))


def _day(span: Span, zone: str) -> date:
    return span.first_day or local_time(span.starts_at, zone).date()


def _window(first: date, last: date, zone: str) -> Window:
    return Window(midnight(first, zone), midnight(last + _DAY, zone))


async def _density(resources: Resources, asked: Asked) -> float:
    """Occurrences of a day in the church's calendar, as checks saw it."""
    async with resources.runtime.sessions() as session:
        connection = await session.get(CalendarConnection, asked.owner.organization_id)
    return UNKNOWN_DENSITY if connection is None or connection.density is None else connection.density


@dataclass(slots=True)
class _Seen:
    """What windows show."""

    met: list[Met] = field(default_factory=list)
    windows: int = 0
    """How many of them were read whole."""
    partly: bool = False
    """Whether not even the first one was, so that only a part of it is there."""


async def _seen(asked: Asked, windows: Sequence[Window]) -> _Seen:
    """Read windows in their order, as far as the requests of one answer reach."""
    seen, requests = _Seen(), 0
    for window in windows:
        met: list[Met] = []
        if requests >= MOST_REQUESTS:
            return seen
        async with aclosing(read_window(asked.pco, window, ahead=_AHEAD)) as pages:
            async for _, those in pages:
                met += those
                requests += 1
                if requests > MOST_REQUESTS:
                    break
        if requests > MOST_REQUESTS:
            if not seen.windows:
                seen.met, seen.partly = met, True
            return seen
        seen.met += met
        seen.windows += 1
    return seen


async def _free(resources: Resources, asked: Asked, met: Sequence[Met]) -> list[Candidate]:
    """The occurrences there that are linked to nothing here; each once, though windows may share days."""
    met = list({one.instance.id: one for one in met}.values())
    async with resources.runtime.sessions() as session:
        links = await linked_to(session, asked.owner, [one.event.id for one in met])
    taken = {(link.pco_event_id, link.pco_instance_id) for link in links}
    free = (one for one in met if not {(one.event.id, None), (one.event.id, one.instance.id)} & taken)
    return list(_readable(free, asked.zone))


def _readable(met: Iterable[Met], zone: str) -> Iterable[Candidate]:
    for one in met:
        span = span_of(one.instance, zone)
        title = one.instance.name or one.event.name
        if span is not None and title:
            repeats = one.instance.repeats or ""
            word = _WORDS.get(repeats, repeats)
            yield Candidate(one.event.id, one.instance.id, title, span, one.instance.location or None, word)


def _rendered(one: suggest.Suggestion, local: Local) -> Suggestion:
    found = one.candidate
    # A single event here is one occurrence of what repeats there.
    alone = bool(found.repeats) and not local.repeats
    return Suggestion(
        pco_event_id=found.event_id,
        pco_event_instance_id=found.instance_id if alone else None,
        title=found.title,
        starts_at=found.span.starts_at,
        ends_at=found.span.ends_at,
        first_day=found.span.first_day,
        last_day=found.span.last_day,
        location=found.location,
        strength=cast("Literal['Very likely', 'Likely', 'Possible']", one.strength),
        reasons=one.reasons,
        url=url_of(found.event_id),
    )
