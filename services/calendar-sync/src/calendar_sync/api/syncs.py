"""Syncs of single events."""

from fastapi import APIRouter, Response

from calendar_sync.resources import Wired
from calendar_sync.usecases import push, refreshes
from contracts.http.calendar import EventPush, EventSync
from servicekit.db.sessions import Session
from servicekit.http.answers import KeyedRoute
from servicekit.http.auth import Admin, User

router = APIRouter(route_class=KeyedRoute, prefix="/api/v1/calendar", tags=["syncs"])


@router.post("/events/{event_id}/sync", status_code=202)
async def sync_event(event_id: str, user: Admin, session: Session, wired: Wired) -> EventSync:
    """Sync this event now."""
    return await refreshes.sync_now(session, user.organization_id, event_id, wired.clock.now())


@router.get("/events/{event_id}/push")
async def read_push(event_id: str, user: User, session: Session) -> EventPush:
    """Whether an event is on its way to Planning Center."""
    return await push.state(session, user.organization_id, event_id)


@router.post("/events/{event_id}/push", status_code=202)
async def push_event(event_id: str, user: Admin, session: Session, wired: Wired) -> EventSync:
    """Create an event in Planning Center."""
    return await push.ask(session, user.organization_id, event_id, user, wired.clock.now())


@router.delete("/events/{event_id}/push", status_code=204)
async def give_up_push(event_id: str, user: Admin, session: Session) -> Response:
    """Wait for an event no longer."""
    await push.give_up(session, user.organization_id, event_id)
    return Response(status_code=204)


@router.get("/syncs/{sync_id}")
async def read_sync(sync_id: str, user: User, session: Session) -> EventSync:
    """State and outcome of the sync of one event."""
    return await refreshes.get(session, user.organization_id, sync_id)
