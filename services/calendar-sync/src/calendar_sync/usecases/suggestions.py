"""Candidates in Planning Center for events here: one window is read, and compared day by day."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal, cast
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from calendar_sync.domain import suggest
from calendar_sync.domain.events import Span
from calendar_sync.domain.planning_center import span_of
from calendar_sync.domain.suggest import ByDay, Candidate, Local
from calendar_sync.domain.window import HORIZON, Window
from calendar_sync.domain.zones import local_time, midnight
from calendar_sync.planning_center import Met, read_window, url_of
from calendar_sync.resources import Resources
from calendar_sync.storage.events import occurrences_of, summary
from calendar_sync.storage.links import has_link, linked_to
from calendar_sync.storage.tables import Event, OccurrenceRow
from calendar_sync.usecases import events
from calendar_sync.usecases.there import Asked, asking
from contracts.http.calendar import Suggested, Suggestion, Suggestions
from contracts.http.common import Page, PageQuery
from servicekit.http.paging import decode, encode, instant

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
        candidates = await _candidates(resources, asked, _around([local.span], asked.zone))
    found = suggest.suggest(local, ByDay(candidates, asked.zone))
    return Suggestions(items=tuple(_rendered(one, local) for one in found))


async def upcoming(resources: Resources, organization_id: str, query: PageQuery) -> Page[Suggested]:
    """A page of events without a link, in the order of their next occurrence, each with its most likely suggestion."""
    now = resources.clock.now()
    async with resources.runtime.sessions() as session:
        rows = await _unlinked(session, organization_id, query, now)
    page = rows[: query.limit]
    locals_ = [_local(event, span) for event, span in page]
    best: list[suggest.Suggestion | None] = []
    if locals_:
        async with asking(resources, organization_id) as asked:
            window = _around([one.span for one in locals_], asked.zone)
            by_day = ByDay(await _candidates(resources, asked, window), asked.zone)
        best = [next(iter(suggest.suggest(one, by_day)), None) for one in locals_]
    items = tuple(
        Suggested(event=summary(event, None), suggestion=_rendered(found, local) if found else None)
        for (event, _), local, found in zip(page, locals_, best, strict=True)
    )
    after = None
    if len(rows) > query.limit:
        event, span = page[-1]
        after = encode(span.starts_at.isoformat(), str(event.id))
    return Page[Suggested](items=items, next=after)


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


def _around(spans: Sequence[Span], zone: str) -> Window:
    """The days of these occurrences, and those beside them."""
    days = [span.first_day or local_time(span.starts_at, zone).date() for span in spans]
    return Window(midnight(min(days) - _DAY, zone), midnight(max(days) + 2 * _DAY, zone))


async def _candidates(resources: Resources, asked: Asked, window: Window) -> list[Candidate]:
    """The occurrences there within the window that are linked to nothing here."""
    met = [one async for _, those in read_window(asked.pco, window) for one in those]
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
            repeats = one.instance.repeats
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
