"""Events and their single occurrences."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from calendar_sync.resources import Wired
from calendar_sync.usecases import events, history
from contracts.calendar import EventDetails, EventSummary
from contracts.http.calendar import EventInput, EventPatch, EventQuery, OccurrencePatch
from contracts.http.common import HistoryEntry, Page, PageQuery
from servicekit.db.sessions import Session
from servicekit.http.answers import KeyedRoute
from servicekit.http.auth import Admin, User
from synckit.history import Actor

router = APIRouter(route_class=KeyedRoute, prefix="/api/v1/calendar/events", tags=["calendar"])


@router.get("")
async def list_events(query: Annotated[EventQuery, Query()], user: User, session: Session) -> Page[EventSummary]:
    """List events by title."""
    return await events.events(session, user.organization_id, query)


@router.post("", status_code=201)
async def add_event(body: EventInput, user: Admin, session: Session, wired: Wired) -> EventDetails:
    """Add an event."""
    return await events.create(session, user.organization_id, body, Actor.person(user), wired.clock.now())


@router.get("/{event_id}")
async def read_event(event_id: str, user: User, session: Session) -> EventDetails:
    """One event."""
    return await events.get(session, user.organization_id, event_id)


@router.patch("/{event_id}")
async def change_event(event_id: str, body: EventPatch, user: Admin, session: Session, wired: Wired) -> EventDetails:
    """Change an event, all occurrences of it."""
    now = wired.clock.now()
    return await events.change(session, user.organization_id, event_id, body, Actor.person(user), now)


@router.delete("/{event_id}", status_code=204)
async def delete_event(event_id: str, user: Admin, session: Session, wired: Wired) -> Response:
    """Delete an event here."""
    await events.remove(session, user.organization_id, event_id, Actor.person(user), wired.clock.now())
    return Response(status_code=204)


@router.patch("/{event_id}/occurrences/{key}")
async def change_occurrence(
    event_id: str, key: str, body: OccurrencePatch, user: Admin, session: Session, wired: Wired
) -> EventDetails:
    """Change one occurrence of a series."""
    now, actor = wired.clock.now(), Actor.person(user)
    return await events.change_occurrence(session, user.organization_id, event_id, key, body, actor, now)


@router.delete("/{event_id}/occurrences/{key}")
async def take_out(event_id: str, key: str, user: Admin, session: Session, wired: Wired) -> EventDetails:
    """Take one occurrence out of a series."""
    now = wired.clock.now()
    return await events.take_out(session, user.organization_id, event_id, key, Actor.person(user), now)


@router.get("/{event_id}/history")
async def read_history(
    event_id: str, query: Annotated[PageQuery, Query()], user: User, session: Session
) -> Page[HistoryEntry]:
    """List every change of an event, even of a deleted one, newest first."""
    event = await events.find(session, user.organization_id, event_id, deleted=True)
    return await history.of_event(session, event, query)
