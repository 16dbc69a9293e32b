"""Families of the directory."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from contracts import people
from contracts.http.common import HistoryEntry, Page, PageQuery
from contracts.http.people import FamilyInput, FamilyPatch, FamilyQuery
from people_sync.resources import Wired
from people_sync.usecases import families, history
from servicekit.db.sessions import Session
from servicekit.http.answers import KeyedRoute
from servicekit.http.auth import Admin, User
from synckit.history import Actor

router = APIRouter(route_class=KeyedRoute, prefix="/api/v1/people/families", tags=["Families"])


@router.get("")
async def list_families(query: Annotated[FamilyQuery, Query()], user: User, session: Session) -> Page[people.Family]:
    """List families by name."""
    return await families.families(session, user.organization_id, query)


@router.post("", status_code=201)
async def add_family(body: FamilyInput, user: Admin, session: Session, wired: Wired) -> people.Family:
    """Add a family."""
    return await families.create(session, user.organization_id, body, wired.clock.now())


@router.get("/{family_id}")
async def read_family(family_id: str, user: User, session: Session) -> people.Family:
    """One family."""
    return await families.get(session, user.organization_id, family_id)


@router.get("/{family_id}/history")
async def read_history(
    family_id: str, query: Annotated[PageQuery, Query()], user: User, session: Session
) -> Page[HistoryEntry]:
    """List every change of a family, even of a deleted one, newest first."""
    family = await families.find(session, user.organization_id, family_id)
    return await history.of_family(session, family, query)


@router.patch("/{family_id}")
async def change_family(
    family_id: str, body: FamilyPatch, user: Admin, session: Session, wired: Wired
) -> people.Family:
    """Change a family."""
    now = wired.clock.now()
    return await families.change(session, user.organization_id, family_id, body, Actor.person(user), now)


@router.delete("/{family_id}", status_code=204)
async def delete_family(family_id: str, user: Admin, session: Session, wired: Wired) -> Response:
    """Delete a family here; its members stay."""
    await families.remove(session, user.organization_id, family_id, Actor.person(user), wired.clock.now())
    return Response(status_code=204)
