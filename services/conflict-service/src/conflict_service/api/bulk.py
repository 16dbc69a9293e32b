"""A bulk answer to conflicts; see contracts.routes."""

from typing import Annotated

from fastapi import APIRouter, Query

from conflict_service.resources import Wired
from conflict_service.usecases import bulk
from contracts.http.common import Page, PageQuery
from contracts.http.conflicts import AnswerBulk, Bulk, BulkInput, BulkPreview, BulkSkipped
from servicekit.db.sessions import Session
from servicekit.http.answers import KeyedRoute
from servicekit.http.auth import Admin, User

router = APIRouter(route_class=KeyedRoute, prefix="/api/v1/conflicts/bulk", tags=["conflicts"])


@router.post("", status_code=201)
async def preview(body: BulkInput, user: Admin, session: Session, wired: Wired) -> BulkPreview:
    """Preview the effect of a bulk answer to conflicts."""
    return await bulk.preview(session, user.organization_id, body, wired.clock.now())


@router.get("/{bulk_id}")
async def get_bulk(bulk_id: str, user: User, session: Session) -> Bulk:
    """Count the outcomes of a bulk answer so far."""
    return await bulk.get(session, user.organization_id, bulk_id)


@router.post("/{bulk_id}/answer", status_code=202)
async def answer(bulk_id: str, body: AnswerBulk, user: Admin, session: Session) -> Bulk:
    """Decide the shown conflicts."""
    return await bulk.answer(session, user.organization_id, bulk_id, body, user)


@router.get("/{bulk_id}/skipped")
async def skipped(
    bulk_id: str, user: User, session: Session, query: Annotated[PageQuery, Query()]
) -> Page[BulkSkipped]:
    """List the conflicts left open because they changed after being shown."""
    return await bulk.skipped(session, user.organization_id, bulk_id, query)
