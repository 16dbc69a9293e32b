"""Many members and families at once."""

from fastapi import APIRouter

from contracts.http.people import BulkResult, BulkUpsert
from people_sync.resources import Wired
from people_sync.usecases import bulk
from servicekit.db.sessions import Session
from servicekit.http.answers import KeyedRoute
from servicekit.http.auth import Admin
from synckit.history import Actor

router = APIRouter(route_class=KeyedRoute, prefix="/api/v1/people/bulk", tags=["Members", "Families"])


@router.put("")
async def upsert(body: BulkUpsert, user: Admin, session: Session, wired: Wired) -> BulkResult:
    """Add or change many members and families by the platform's own ids."""
    return await bulk.upsert(session, user.organization_id, body, Actor.platform(user), wired.clock.now())
