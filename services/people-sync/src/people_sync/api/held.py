"""Held matches and their three answers."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from contracts.http.common import Page, PageQuery
from contracts.http.people import (
    AnswerHeld,
    AnswerHeldBulk,
    HeldBulk,
    HeldBulkInput,
    HeldBulkPreview,
    HeldMatch,
    HeldQuery,
    HeldSkipped,
    TakeBackHeld,
)
from people_sync.resources import Wired
from people_sync.usecases import held, held_bulk
from servicekit.db.sessions import Session
from servicekit.http.answers import KeyedRoute
from servicekit.http.auth import Admin, User

router = APIRouter(route_class=KeyedRoute, prefix="/api/v1/people/held-matches", tags=["held matches"])


@router.get("")
async def held_matches(user: User, session: Session, query: Annotated[HeldQuery, Query()]) -> Page[HeldMatch]:
    """Doubtful matches."""
    return await held.held_matches(session, user.organization_id, query)


@router.post("/{held_id}/answer")
async def answer(held_id: str, body: AnswerHeld, user: Admin, session: Session, wired: Wired) -> HeldMatch:
    """Answer a doubtful match."""
    grace = timedelta(seconds=wired.settings.held_answer_grace_seconds)
    return await held.answer(session, user.organization_id, held_id, body, user, wired.clock.now(), grace=grace)


@router.get("/{held_id}")
async def one(held_id: str, user: User, session: Session) -> HeldMatch:
    """Show one doubtful match, answered or not."""
    return await held.get(session, user.organization_id, held_id)


@router.post("/{held_id}/take-back")
async def take_back(held_id: str, body: TakeBackHeld, user: Admin, session: Session, wired: Wired) -> HeldMatch:
    """Take an answer back."""
    return await held.take_back(session, user.organization_id, held_id, body, user, wired.clock.now())


@router.post("/bulk", status_code=201)
async def preview(body: HeldBulkInput, user: Admin, session: Session, wired: Wired) -> HeldBulkPreview:
    """Preview the effect of a bulk answer to doubtful matches."""
    return await held_bulk.preview(session, user.organization_id, body, wired.clock.now())


@router.get("/bulk/{bulk_id}")
async def bulk(bulk_id: str, user: User, session: Session) -> HeldBulk:
    """Progress of a bulk answer to doubtful matches."""
    return await held_bulk.get(session, user.organization_id, bulk_id)


@router.post("/bulk/{bulk_id}/answer", status_code=202)
async def answer_bulk(bulk_id: str, body: AnswerHeldBulk, user: Admin, session: Session) -> HeldBulk:
    """Answer the doubtful matches that were shown."""
    return await held_bulk.answer(session, user.organization_id, bulk_id, body, user)


@router.get("/bulk/{bulk_id}/skipped")
async def skipped(
    bulk_id: str, user: User, session: Session, query: Annotated[PageQuery, Query()]
) -> Page[HeldSkipped]:
    """List doubtful matches left open because they changed after being shown."""
    return await held_bulk.skipped(session, user.organization_id, bulk_id, query)
