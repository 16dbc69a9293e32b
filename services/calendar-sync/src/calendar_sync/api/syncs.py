"""Syncs of single events."""

from fastapi import APIRouter

from calendar_sync.resources import Wired
from calendar_sync.usecases import refreshes
from contracts.http.calendar import EventSync
from servicekit.db.sessions import Session
from servicekit.http.answers import KeyedRoute
from servicekit.http.auth import Admin, User

router = APIRouter(route_class=KeyedRoute, prefix="/api/v1/calendar", tags=["syncs"])


@router.post("/events/{event_id}/sync", status_code=202)
async def sync_event(event_id: str, user: Admin, session: Session, wired: Wired) -> EventSync:
    """Sync this event now."""
    return await refreshes.sync_now(session, user.organization_id, event_id, wired.clock.now())


@router.get("/syncs/{sync_id}")
async def read_sync(sync_id: str, user: User, session: Session) -> EventSync:
    """State and outcome of the sync of one event."""
    return await refreshes.get(session, user.organization_id, sync_id)
