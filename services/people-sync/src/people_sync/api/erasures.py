"""Erase people here, and let them back."""

from typing import Annotated

from fastapi import APIRouter, Query

from contracts.http.common import Page, PageQuery
from contracts.http.erasures import EraseMember, Erasure
from people_sync.resources import Wired
from people_sync.usecases import receipts
from people_sync.usecases.erase import erase
from servicekit.db.sessions import Session
from servicekit.http.answers import KeyedRoute
from servicekit.http.auth import Admin
from synckit.history import Actor

router = APIRouter(route_class=KeyedRoute, prefix="/api/v1/people", tags=["Erased people"])


@router.post("/members/{member_id}/erasure", status_code=201)
async def erase_member(member_id: str, body: EraseMember, user: Admin, session: Session, wired: Wired) -> Erasure:
    """Erase a member or child here permanently."""
    return await erase(session, user.organization_id, member_id, body, Actor.person(user), wired.clock.now())


@router.get("/erasures")
async def list_erasures(query: Annotated[PageQuery, Query()], user: Admin, session: Session) -> Page[Erasure]:
    """List receipts of erased people."""
    return await receipts.page(session, user.organization_id, query)


@router.get("/erasures/{erasure_id}")
async def get_erasure(erasure_id: str, user: Admin, session: Session) -> Erasure:
    """The receipt of an erasure."""
    return await receipts.get(session, user.organization_id, erasure_id)


@router.post("/erasures/{erasure_id}/let-back")
async def let_back(erasure_id: str, user: Admin, session: Session, wired: Wired) -> Erasure:
    """Let syncs add an erased person again."""
    return await receipts.let_back(session, user.organization_id, erasure_id, Actor.person(user), wired.clock.now())
