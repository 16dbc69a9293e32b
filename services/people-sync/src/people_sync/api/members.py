"""Members and children of the directory."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from contracts import people
from contracts.http.common import HistoryEntry, Page, PageQuery
from contracts.http.people import MemberInput, MemberPatch, MemberQuery
from people_sync.resources import Wired
from people_sync.usecases import directory, history, refreshes
from servicekit.db.sessions import Session
from servicekit.http.answers import KeyedRoute
from servicekit.http.auth import Admin, User
from synckit.history import Actor

router = APIRouter(route_class=KeyedRoute, prefix="/api/v1/people/members", tags=["Members"])


@router.get("")
async def list_members(query: Annotated[MemberQuery, Query()], user: User, session: Session) -> Page[people.Member]:
    """List members by name."""
    return await directory.members(session, user.organization_id, query)


@router.post("", status_code=201)
async def add_member(body: MemberInput, user: Admin, session: Session, wired: Wired) -> people.Member:
    """Add a member."""
    return await directory.create(session, user.organization_id, body, wired.clock.now())


@router.get("/{member_id}")
async def read_member(member_id: str, user: User, session: Session) -> people.Member:
    """One member."""
    return await directory.get(session, user.organization_id, member_id)


@router.patch("/{member_id}")
async def change_member(
    member_id: str, body: MemberPatch, user: Admin, session: Session, wired: Wired
) -> people.Member:
    """Change a member."""
    now = wired.clock.now()
    return await directory.change(session, user.organization_id, member_id, body, Actor.person(user), now)


@router.delete("/{member_id}", status_code=204)
async def delete_member(member_id: str, user: Admin, session: Session, wired: Wired) -> Response:
    """Delete a member here."""
    await directory.remove(session, user.organization_id, member_id, Actor.person(user), wired.clock.now())
    return Response(status_code=204)


@router.get("/{member_id}/history")
async def read_history(
    member_id: str, query: Annotated[PageQuery, Query()], user: User, session: Session
) -> Page[HistoryEntry]:
    """List every change of a member, even of a deleted one, newest first."""
    member = await directory.find(session, user.organization_id, member_id, deleted=True)
    return await history.of_member(session, member, query)


@router.post("/{member_id}/history/{entry_id}/undo")
async def undo_change(member_id: str, entry_id: str, user: Admin, session: Session, wired: Wired) -> people.Member:
    """Put the former value back: here at once, and in Planning Center by a sync of this member."""
    now = wired.clock.now()
    member = await directory.undo(session, user.organization_id, member_id, entry_id, Actor.person(user), now)
    await refreshes.soon(session, user.organization_id, now, record_id=UUID(member.id), reason="undone")
    return member


@router.post("/{member_id}/create-again")
async def create_again(member_id: str, user: Admin, session: Session, wired: Wired) -> people.Member:
    """Create a member gone in Planning Center again: at once, or with the next sync if that is impossible now."""
    now = wired.clock.now()
    member = await directory.create_again(session, user.organization_id, member_id, Actor.person(user), now)
    await refreshes.soon(session, user.organization_id, now, record_id=UUID(member.id), reason="create again")
    return member
