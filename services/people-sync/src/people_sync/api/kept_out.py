"""Keep a member or family out of the sync, and sync them again."""

from fastapi import APIRouter

from contracts.http.kept_out import KeptOut
from contracts.values import FAMILY, MEMBER
from people_sync.resources import Wired
from people_sync.usecases import kept_out
from servicekit.db.sessions import Session
from servicekit.http.answers import KeyedRoute
from servicekit.http.auth import Admin, User
from synckit.history import Actor

router = APIRouter(route_class=KeyedRoute, prefix="/api/v1/people", tags=["Kept out of the sync"])


@router.get("/members/{member_id}/kept-out")
async def of_member(member_id: str, user: User, session: Session) -> KeptOut:
    """Say whether a member is kept out of the sync, by whom and since when."""
    return await kept_out.of_record(session, user.organization_id, MEMBER, member_id)


@router.post("/members/{member_id}/kept-out")
async def keep_member_out(member_id: str, user: Admin, session: Session, wired: Wired) -> KeptOut:
    """Keep a member out of the sync."""
    now = wired.clock.now()
    return await kept_out.begin(session, user.organization_id, MEMBER, member_id, Actor.person(user), now)


@router.delete("/members/{member_id}/kept-out")
async def sync_member_again(member_id: str, user: Admin, session: Session, wired: Wired) -> KeptOut:
    """Sync a member again."""
    now = wired.clock.now()
    return await kept_out.end(session, user.organization_id, MEMBER, member_id, Actor.person(user), now)


@router.get("/families/{family_id}/kept-out")
async def of_family(family_id: str, user: User, session: Session) -> KeptOut:
    """Say whether a family is kept out of the sync, by whom and since when."""
    return await kept_out.of_record(session, user.organization_id, FAMILY, family_id)


@router.post("/families/{family_id}/kept-out")
async def keep_family_out(family_id: str, user: Admin, session: Session, wired: Wired) -> KeptOut:
    """Keep a family and all its present members out of the sync."""
    now = wired.clock.now()
    return await kept_out.begin(session, user.organization_id, FAMILY, family_id, Actor.person(user), now)


@router.delete("/families/{family_id}/kept-out")
async def sync_family_again(family_id: str, user: Admin, session: Session, wired: Wired) -> KeptOut:
    """Sync a family again, and all members kept out with it."""
    now = wired.clock.now()
    return await kept_out.end(session, user.organization_id, FAMILY, family_id, Actor.person(user), now)
