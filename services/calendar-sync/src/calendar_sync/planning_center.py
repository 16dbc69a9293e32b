"""Planning Center Calendar as this service reads it: which fields, in which requests.

Absent is not empty: an attribute that did not come says nothing, and a time that cannot be read is None. No reader of a
record raises for what an answer holds; an instance that names no event is left out.
"""

import re
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from calendar_sync.domain.planning_center import Seen, SeenInstance, one_line, plain, without_markup
from calendar_sync.domain.taking_over import There
from calendar_sync.domain.window import Window
from calendar_sync.domain.zone_names import iana_name
from pco_client.client import PlanningCenter
from pco_client.errors import NotFound, UnexpectedAnswer
from pco_client.jsonapi import Included, Page, Resource, parse_instant
from pco_client.query import Query, Where
from pco_client.walk import list_all, walk_all

EVENTS: Final = "/calendar/v2/events"
INSTANCES: Final = "/calendar/v2/event_instances"
ORGANIZATION: Final = "/calendar/v2"
NEW_EVENT: Final = "https://calendar.planningcenteronline.com/events/new"
"""Where staff create an event (unconfirmed: the path is not documented)."""
FIELDS: Final = {
    "EventInstance": (
        *("name", "starts_at", "ends_at", "published_starts_at", "published_ends_at", "all_day_event"),
        *("location", "recurrence", "created_at", "updated_at", "event"),
    ),
    "Event": ("name", "summary", "description", "updated_at"),
}
"""The fields that are read of a record, relationships included."""
ONCE: Final = "None"
"""`recurrence` of a single date."""
_TITLE: Final = 255
_LOCATION: Final = 500
_DESCRIPTION: Final = 10_000
_ID: Final = re.compile("[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Met:
    """One occurrence of a list, with its event."""

    instance: SeenInstance
    event: Seen


def url_of(pco_event_id: str) -> str:
    """Address of an event's page."""
    return f"https://calendar.planningcenteronline.com/events/{pco_event_id}"


async def zone_of_church(pco: PlanningCenter) -> str | None:
    """IANA name of the church's zone; None for a name that nobody knows."""
    document = await pco.get(ORGANIZATION)
    name = document.data.attributes.get("time_zone")
    return iana_name(name) if isinstance(name, str) else None


async def event_there(pco: PlanningCenter, event_id: str) -> There:
    """An event with all its occurrences, at its own address. NotFound if it is not there."""
    page = await list_all(pco, f"{EVENTS}/{event_id}/event_instances", Query(include=("event",), fields=FIELDS))
    met = list(met_on(page.data, page.included))
    if len(met) < len(page.data):
        raise UnexpectedAnswer("an occurrence without its event", method="GET", path=f"{EVENTS}/…/event_instances")
    instances = tuple(one.instance for one in met)
    event = next((one.event for one in met if one.event.name is not None), None)
    if event is None:
        document = await pco.get(f"{EVENTS}/{event_id}", Query(fields={"Event": FIELDS["Event"]}))
        event = seen(document.data)
    return There(event, instances)


async def instance_there(pco: PlanningCenter, event_id: str, instance_id: str) -> There:
    """One occurrence with its event, at its own address. NotFound if it is not there, or of another event."""
    document = await pco.get(f"{INSTANCES}/{instance_id}", Query(include=("event",), fields=FIELDS))
    met = next(met_on([document.data], document.included), None)
    if met is None:
        raise UnexpectedAnswer("an occurrence without its event", method="GET", path=INSTANCES)
    if met.instance.event_id != event_id:
        raise NotFound("an occurrence of another event", method="GET", path=INSTANCES)
    return There(met.event, (met.instance,), one=True)


async def event_of_instance(pco: PlanningCenter, instance_id: str) -> str:
    """Id of the event of an occurrence. NotFound if that is not there."""
    document = await pco.get(f"{INSTANCES}/{instance_id}", Query(fields=FIELDS))
    event = document.data.to_one("event")
    if event is None:
        raise UnexpectedAnswer("an occurrence without its event", method="GET", path=INSTANCES)
    return event.id


async def is_of_a_feed(pco: PlanningCenter, event_id: str) -> bool:
    """Whether Planning Center has an event from a feed that the church subscribes to."""
    document = await pco.get(f"{EVENTS}/{event_id}", Query(include=("feed",)))
    return document.data.to_one("feed") is not None


async def any_instance(pco: PlanningCenter) -> None:
    """Read one occurrence, whichever it is. Raises what Planning Center answers to every read."""
    await pco.list(INSTANCES, Query(fields=FIELDS, per_page=1))


async def read_window(
    pco: PlanningCenter, window: Window, *, ahead: int = 16
) -> AsyncGenerator[tuple[int, list[Met]], None]:
    """All that takes place within a stretch of time, page by page, each with the number of its rows.

    Whoever reads it to its end has read it whole. ahead: the most pages under way at the same time.
    """
    where = (Where("starts_at", window.ends, "lt"), Where("ends_at", window.begins, "gte"))
    walk = walk_all(pco, INSTANCES, include=("event",), where=where, fields=FIELDS, parallel=ahead)
    async with aclosing(walk) as pages:
        async for page in pages:
            yield len(page.rows), list(met_on(page.rows, page.included))


async def search(pco: PlanningCenter, name: str | None, window: Window, *, limit: int) -> tuple[list[Met], bool]:
    """The occurrences within a stretch of time, by start, and whether there is more. `name`: a part of the event's."""
    where = [Where("starts_at", window.ends, "lt"), Where("ends_at", window.begins, "gte")]
    if name:
        where.append(Where("event_name", f"%{name}%"))
    query = Query(where=tuple(where), order="starts_at", include=("event",), fields=FIELDS, per_page=limit)
    page = await pco.list(INSTANCES, query)
    return list(met_on(page.data, page.included)), page.has_next


async def events_named(pco: PlanningCenter, name: str, *, limit: int) -> list[Seen]:
    """Events by a part of their name, also those that take place on no day."""
    page: Page = await pco.list(
        EVENTS, Query(where=(Where("name", f"%{name}%"),), fields={"Event": FIELDS["Event"]}, per_page=limit)
    )
    return [seen(row) for row in page.data if _ID.fullmatch(row.id)]


async def events_called(pco: PlanningCenter, name: str) -> list[tuple[str, datetime | None]]:
    """Ids of the events with just this name, and when each was created."""
    query = Query(where=(Where("name", name),), fields={"Event": ("name", "created_at")})
    page = await list_all(pco, EVENTS, query)
    return [
        (row.id, row.created_at) for row in page.data if _ID.fullmatch(row.id) and row.attributes.get("name") == name
    ]


def met_on(rows: Sequence[Resource], included: Included) -> Iterator[Met]:
    """Occurrences of a page."""
    for row in rows:
        try:
            identifier = row.to_one("event")
        except UnexpectedAnswer:
            identifier = None
        if identifier is None or not _ID.fullmatch(identifier.id) or not _ID.fullmatch(row.id):
            continue
        event = included.get(identifier)
        yield Met(_instance(row, identifier.id), seen(event) if event else Seen(identifier.id, None, None))


def seen(row: Resource) -> Seen:
    """An event."""
    name = row.attributes.get("name")
    return Seen(
        row.id,
        one_line(name, _TITLE) or None if isinstance(name, str) else None,
        _description(row),
        _instant(row.attributes.get("updated_at")),
    )


def _description(row: Resource) -> str | None:
    """The plain `summary`, else the text of the `description`; None unless both were sent, or one that decides."""
    attributes = row.attributes
    if isinstance(summary := attributes.get("summary"), str) and (text := plain(summary, _DESCRIPTION)):
        return text
    if "summary" not in attributes or "description" not in attributes:
        return None
    description = attributes["description"]
    return plain(without_markup(description), _DESCRIPTION) if isinstance(description, str) else ""


def _instance(row: Resource, event_id: str) -> SeenInstance:
    attributes = row.attributes
    starts, ends = _times(attributes)
    name, location = attributes.get("name"), attributes.get("location")
    return SeenInstance(
        id=row.id,
        event_id=event_id,
        name=one_line(name, _TITLE) or None if isinstance(name, str) else None,
        starts_at=starts,
        ends_at=ends,
        all_day=attributes.get("all_day_event") is True,
        location=_location(location) if "location" in attributes else None,
        repeats=_repeats(attributes["recurrence"]) if "recurrence" in attributes else None,
        updated_at=_instant(attributes.get("updated_at")),
    )


def _times(attributes: Mapping[str, Any]) -> tuple[datetime | None, datetime | None]:
    """The public times if there are some, else the booked ones. An answer without one of the fields that decide says
    no time at all.
    """
    if not attributes.keys() >= {"published_starts_at", "published_ends_at", "all_day_event"}:
        return None, None
    starts, ends = (_instant(attributes[f"published_{name}"]) for name in ("starts_at", "ends_at"))
    if starts is None or ends is None:
        starts, ends = (_instant(attributes.get(name)) for name in ("starts_at", "ends_at"))
    return starts, ends


def _repeats(value: Any) -> str:
    return value if isinstance(value, str) and value != ONCE else ""


def _location(value: Any) -> str:
    return one_line(value, _LOCATION) if isinstance(value, str) else ""


def _instant(value: Any) -> datetime | None:
    if value is None:
        return None
    try:
        return parse_instant(value)
    except UnexpectedAnswer:
        return None
