"""Pairs of members who are one person in Planning Center: list, join, or keep two."""

from typing import Annotated

from fastapi import APIRouter, Query

from contracts.http.common import Page
from contracts.http.merged import AnswerMerged, MergedAnswer, MergedPair, MergedQuery
from people_sync.resources import Wired
from people_sync.usecases import merged_pairs
from servicekit.db.sessions import Session
from servicekit.http.answers import KeyedRoute
from servicekit.http.auth import Admin, User

router = APIRouter(route_class=KeyedRoute, prefix="/api/v1/people/merged", tags=["held matches"])


@router.get("")
async def merged(user: User, session: Session, query: Annotated[MergedQuery, Query()]) -> Page[MergedPair]:
    """List pairs of members who are one person in Planning Center."""
    return await merged_pairs.merged(session, user.organization_id, query)


@router.post("/{member_id}")
async def answer(member_id: str, body: AnswerMerged, user: Admin, session: Session, wired: Wired) -> MergedAnswer:
    """Join the two, keep two, or ask again."""
    return await merged_pairs.answer(session, user.organization_id, member_id, body, user, wired.clock.now())
