"""Differences that an administrator decided to keep: list, and end one."""

from fastapi import APIRouter

from contracts.http.people import Differences
from contracts.values import FAMILY, MEMBER
from people_sync.resources import Wired
from people_sync.usecases import differences
from servicekit.db.sessions import Session
from servicekit.http.answers import KeyedRoute
from servicekit.http.auth import Admin, User
from synckit.history import Actor

router = APIRouter(route_class=KeyedRoute, prefix="/api/v1/people", tags=["Differences"])


@router.get("/members/{member_id}/differences")
async def of_member(member_id: str, user: User, session: Session) -> Differences:
    """List a member's kept differences."""
    return await differences.of_record(session, user.organization_id, MEMBER, member_id)


@router.delete("/members/{member_id}/differences/{field}")
async def end_of_member(member_id: str, field: str, user: Admin, session: Session, wired: Wired) -> Differences:
    """End the kept difference of a member's field."""
    return await differences.end(
        session, user.organization_id, MEMBER, member_id, field, Actor.person(user), wired.clock.now()
    )


@router.get("/families/{family_id}/differences")
async def of_family(family_id: str, user: User, session: Session) -> Differences:
    """List a family's kept differences."""
    return await differences.of_record(session, user.organization_id, FAMILY, family_id)


@router.delete("/families/{family_id}/differences/{field}")
async def end_of_family(family_id: str, field: str, user: Admin, session: Session, wired: Wired) -> Differences:
    """End the kept difference of a family's field."""
    return await differences.end(
        session, user.organization_id, FAMILY, family_id, field, Actor.person(user), wired.clock.now()
    )
