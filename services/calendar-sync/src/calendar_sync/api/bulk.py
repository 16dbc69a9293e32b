"""Many events at once."""

from fastapi import APIRouter

from calendar_sync.resources import Wired
from calendar_sync.usecases import bulk
from contracts.http.calendar import BulkEvents, BulkEventsResult
from servicekit.db.sessions import Session
from servicekit.http.answers import KeyedRoute
from servicekit.http.auth import Admin
from synckit.history import Actor

router = APIRouter(route_class=KeyedRoute, prefix="/api/v1/calendar/bulk", tags=["calendar"])


@router.post("")
async def upsert(body: BulkEvents, user: Admin, session: Session, wired: Wired) -> BulkEventsResult:
    """Add or change many events by the platform's own ids."""
    return await bulk.upsert(session, user.organization_id, body, Actor.platform(user), wired.clock.now())
