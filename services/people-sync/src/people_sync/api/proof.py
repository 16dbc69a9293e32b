"""Proof of sync: nightly statements, and why one record differs."""

from typing import Annotated

from fastapi import APIRouter, Query

from contracts.http.common import Page, PageQuery
from contracts.http.proof import Statement, WhyDifferent
from contracts.sync_runs import Run
from contracts.values import FAMILY, MEMBER
from people_sync.usecases import proof, runs
from servicekit.db.sessions import Session
from servicekit.http.answers import KeyedRoute
from servicekit.http.auth import Admin, User

router = APIRouter(route_class=KeyedRoute, prefix="/api/v1/people", tags=["proof"])


@router.get("/statements")
async def statements(user: User, session: Session, query: Annotated[PageQuery, Query()]) -> Page[Statement]:
    """Statements, newest first."""
    return await proof.statements(session, user.organization_id, query)


@router.post("/statements", status_code=202)
async def compare(user: Admin, session: Session) -> Run:
    """Start a full comparison without writes; joins the run in progress."""
    return await runs.start(session, user.organization_id, "full", "person", user, purpose="proof")


@router.get("/members/{member_id}/why-different")
async def member(member_id: str, user: User, session: Session) -> WhyDifferent:
    """Why a member differs between the sides."""
    return await proof.of_record(session, user.organization_id, MEMBER, member_id)


@router.get("/families/{family_id}/why-different")
async def family(family_id: str, user: User, session: Session) -> WhyDifferent:
    """Why a family differs between the sides."""
    return await proof.of_record(session, user.organization_id, FAMILY, family_id)
