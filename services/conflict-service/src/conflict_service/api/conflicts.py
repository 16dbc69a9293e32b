"""The platform API's calls about conflicts; see contracts.routes."""

from typing import Annotated

from fastapi import APIRouter, Query

from conflict_service.resources import Wired
from conflict_service.storage import queries
from conflict_service.usecases import read
from conflict_service.usecases.decide import decide
from contracts.http.common import Page
from contracts.http.conflicts import Conflict, ConflictCount, ConflictQuery, Decide
from servicekit.db.sessions import Session
from servicekit.http.answers import KeyedRoute
from servicekit.http.auth import Admin, User

router = APIRouter(route_class=KeyedRoute, prefix="/api/v1/conflicts", tags=["conflicts"])


@router.get("")
async def list_conflicts(query: Annotated[ConflictQuery, Query()], user: User, session: Session) -> Page[Conflict]:
    """List conflicts, newest first."""
    return await read.page(session, user.organization_id, query)


@router.get("/count")
async def count(user: User, session: Session) -> ConflictCount:
    """Number of open conflicts."""
    return ConflictCount(open=await queries.count(session, user.organization_id, state="open"))


@router.get("/{conflict_id}")
async def get_conflict(conflict_id: str, user: User, session: Session) -> Conflict:
    """One conflict."""
    return await read.one(session, user.organization_id, conflict_id)


@router.post("/{conflict_id}/decision", status_code=202)
async def decide_conflict(conflict_id: str, body: Decide, user: Admin, session: Session, wired: Wired) -> Conflict:
    """Decide a conflict."""
    return await decide(session, user.organization_id, conflict_id, body, user, wired.clock.now())
