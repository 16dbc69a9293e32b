"""Held matches and their three answers."""

from typing import Annotated

from fastapi import APIRouter, Query

from contracts.http.common import Page
from contracts.http.people import AnswerHeld, HeldMatch, HeldQuery
from people_sync.resources import Wired
from people_sync.usecases import held
from servicekit.auth import Admin, User
from servicekit.db import Session

router = APIRouter(prefix="/api/v1/people/held-matches", tags=["held matches"])


@router.get("")
async def held_matches(user: User, session: Session, query: Annotated[HeldQuery, Query()]) -> Page[HeldMatch]:
    """Doubtful matches."""
    return await held.held_matches(session, user.organization_id, query)


@router.post("/{held_id}/answer")
async def answer(held_id: str, body: AnswerHeld, user: Admin, session: Session, wired: Wired) -> HeldMatch:
    """Answer a doubtful match."""
    return await held.answer(session, user.organization_id, held_id, body, user, wired.clock.now())
