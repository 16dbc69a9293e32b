"""Single syncs: sync one person or family now."""

from fastapi import APIRouter

from contracts.http.people import RecordSync
from contracts.values import FAMILY, MEMBER
from people_sync.resources import Wired
from people_sync.usecases import refreshes
from servicekit.db.sessions import Session
from servicekit.http.answers import KeyedRoute
from servicekit.http.auth import Admin, User

router = APIRouter(route_class=KeyedRoute, prefix="/api/v1/people", tags=["Syncs of one record"])


@router.post("/members/{member_id}/sync", status_code=202)
async def sync_member(member_id: str, user: Admin, session: Session, wired: Wired) -> RecordSync:
    """Sync this person now."""
    return await refreshes.sync_now(session, user.organization_id, MEMBER, member_id, wired.clock.now())


@router.post("/families/{family_id}/sync", status_code=202)
async def sync_family(family_id: str, user: Admin, session: Session, wired: Wired) -> RecordSync:
    """Sync this family now."""
    return await refreshes.sync_now(session, user.organization_id, FAMILY, family_id, wired.clock.now())


@router.get("/syncs/{sync_id}")
async def read_sync(sync_id: str, user: User, session: Session) -> RecordSync:
    """State and outcome of a single sync."""
    return await refreshes.get(session, user.organization_id, sync_id)
