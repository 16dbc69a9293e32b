"""Reads of Planning Center while somebody waits for the answer, outside of any transaction."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

import structlog

from calendar_sync.domain.events import Span
from calendar_sync.domain.planning_center import Seen, span_of
from calendar_sync.domain.sentences import AWAY, NOT_CONNECTED, NOT_THERE, NOT_UNDERSTOOD, ROLE_IS_GONE
from calendar_sync.domain.taking_over import There
from calendar_sync.domain.window import Window
from calendar_sync.domain.zones import local_time, midnight
from calendar_sync.planning_center import (
    Met,
    event_there,
    events_named,
    instance_there,
    search,
    url_of,
    zone_of_church,
)
from calendar_sync.resources import Resources
from calendar_sync.storage.links import Owner, linked_to
from calendar_sync.storage.tables import CalendarConnection, EventLink
from contracts.http.calendar import LONGEST_WINDOW_DAYS, EventsThere, EventThere, InstanceThere, ThereQuery
from pco_client import errors
from pco_client.client import PlanningCenter
from pco_client.pacer import Priority
from servicekit.errors import Conflict, Invalid, NotFound, Unavailable
from synckit.errors import NotConnected

PATIENCE_SECONDS: Final = 15.0
"""How long a person waits for all reads of one answer."""
MOST_INSTANCES: Final = 20
"""Occurrences shown of one event."""
_YEAR: Final = timedelta(days=365)
_FOUND: Final = 100
_EARLIEST: Final = date(1900, 1, 3)
_LATEST: Final = date(2199, 12, 29)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """Planning Center, as one church's person asks it."""

    pco: PlanningCenter
    owner: Owner
    zone: str
    """The church's (IANA)."""


@asynccontextmanager
async def asking(
    resources: Resources, organization_id: str, *, patience: float = PATIENCE_SECONDS
) -> AsyncIterator[Asked]:
    """Ask Planning Center within the block; errors as `in_words`. Conflict (409) while it is not connected."""
    async with resources.runtime.sessions() as session:
        connection = await session.get(CalendarConnection, organization_id)
    if connection is None or connection.state != "connected":
        raise Conflict(NOT_CONNECTED, slug="not-connected")
    owner = Owner(organization_id, connection.pco_organization_id)
    with in_words(organization_id):
        async with (
            asyncio.timeout(patience),
            resources.planning_center(organization_id, owner.pco_organization_id) as pco,
        ):
            urgent = pco.using(priority=Priority.INTERACTIVE)
            zone = connection.time_zone or await learn_zone(resources, urgent, owner)
            yield Asked(urgent, owner, zone)


@contextmanager
def in_words(organization_id: str) -> Iterator[None]:
    """Answer in words what Planning Center answers wrongly, or not: Conflict (409) without a connection or the role,
    NotFound (404), Unavailable (503).
    """
    try:
        yield
    except (NotConnected, errors.Unauthorized) as error:
        raise Conflict(NOT_CONNECTED, slug="not-connected") from error
    except errors.Forbidden as error:
        raise Conflict(ROLE_IS_GONE, slug="role-missing") from error
    except errors.NotFound as error:
        raise NotFound(NOT_THERE) from error
    except (errors.Unavailable, errors.LeaseUnavailable, TimeoutError) as error:
        raise Unavailable(AWAY, retry_after=60) from error
    except errors.PlanningCenterError as error:
        log.warning("answer not understood", organization_id=organization_id, exc_info=error)
        raise Unavailable(NOT_UNDERSTOOD, retry_after=60) from error


async def learn_zone(resources: Resources, pco: PlanningCenter, owner: Owner) -> str:
    """Read and store the church's zone. If Planning Center names none that we know: the one before, else UTC."""
    zone = await zone_of_church(pco)
    async with resources.runtime.sessions.begin() as session:
        connection = await session.get(CalendarConnection, owner.organization_id, with_for_update=True)
        if connection is not None and connection.pco_organization_id == owner.pco_organization_id:
            if zone is not None:
                connection.time_zone = zone
            known = connection.time_zone
        else:
            known = zone
    if zone is None:
        log.warning("unknown time zone", organization_id=owner.organization_id)
    return known or "UTC"


async def read_target(pco: PlanningCenter, pco_event_id: str, pco_instance_id: str | None) -> There:
    """An event, or one occurrence, at its own address. pco_client's NotFound if it is not there."""
    if pco_instance_id is not None:
        return await instance_there(pco, pco_event_id, pco_instance_id)
    return await event_there(pco, pco_event_id)


def window_of(first: date | None, last: date | None, zone: str, now: datetime) -> Window:
    """The stretch of time of days in the church's zone. Invalid (422)."""
    first = first or local_time(now, zone).date()
    if not _EARLIEST <= first <= _LATEST:
        raise invalid("first_day", "must lie between 1900 and 2199")
    last = last or min(first + _YEAR, _LATEST)
    if last < first:
        raise invalid("last_day", "lies before first_day")
    if (last - first).days >= LONGEST_WINDOW_DAYS:
        raise invalid("last_day", f"lies too far behind first_day: at most {LONGEST_WINDOW_DAYS} days are searched")
    return Window(midnight(first, zone), midnight(last + timedelta(days=1), zone))


def invalid(field: str, message: str) -> Invalid:
    """Invalid (422) for one field."""
    return Invalid("Correct the fields named in `errors`.", errors=[{"field": field, "message": message}])


async def search_there(resources: Resources, organization_id: str, query: ThereQuery) -> EventsThere:
    """Events of Planning Center by name and days, with their occurrences on these days."""
    name = (query.q or "").replace("%", " ").strip() or None
    async with asking(resources, organization_id) as asked:
        window = window_of(query.first_day, query.last_day, asked.zone, resources.clock.now())
        met, more = await search(asked.pco, name, window, limit=_FOUND)
        undated = await events_named(asked.pco, name, limit=_FOUND) if name and not more else []
    known = {one.event.id for one in met}
    undated = [one for one in undated if one.id not in known]
    async with resources.runtime.sessions() as session:
        links = await linked_to(session, asked.owner, [*known, *(one.id for one in undated)])
    items = [*_grouped(met, links, asked.zone), *(_event(one, [], links, asked.zone) for one in undated)]
    return EventsThere(items=tuple(items), more=more, time_zone=asked.zone)


def _grouped(met: Iterable[Met], links: list[EventLink], zone: str) -> list[EventThere]:
    by_event: dict[str, list[Met]] = {}
    for one in met:
        by_event.setdefault(one.event.id, []).append(one)
    return [_event(those[0].event, those, links, zone) for those in by_event.values()]


def _event(event: Seen, met: list[Met], links: list[EventLink], zone: str) -> EventThere:
    of_event = [link for link in links if link.pco_event_id == event.id]
    linked = {link.pco_instance_id: str(link.event_id) for link in of_event}
    shown: list[InstanceThere] = []
    for one in met:
        if (span := span_of(one.instance, zone)) is not None and len(shown) < MOST_INSTANCES:
            shown.append(_instance(one, span, linked.get(one.instance.id)))
    title = event.name or next((one.instance.name for one in met if one.instance.name), None)
    return EventThere(
        pco_event_id=event.id,
        title=title or "(no name)",
        repeats=next((one.instance.repeats for one in met if one.instance.repeats), None),
        url=url_of(event.id),
        linked_to=linked.get(None),
        instances=tuple(shown),
    )


def _instance(one: Met, span: Span, linked: str | None) -> InstanceThere:
    return InstanceThere(
        pco_event_instance_id=one.instance.id,
        title=one.instance.name or one.event.name or "(no name)",
        starts_at=span.starts_at,
        ends_at=span.ends_at,
        first_day=span.first_day,
        last_day=span.last_day,
        location=one.instance.location or None,
        linked_to=linked,
    )
