"""Syncs of all linked events."""

from typing import Annotated

from fastapi import APIRouter, Query

from calendar_sync.usecases import runs
from contracts.http.calendar import CalendarRunQuery, EventChange, EventChangeQuery
from contracts.http.common import Page
from contracts.sync_runs import Run
from servicekit.db.sessions import Session
from servicekit.http.answers import KeyedRoute
from servicekit.http.auth import Admin, User

router = APIRouter(route_class=KeyedRoute, prefix="/api/v1/calendar/runs", tags=["syncs"])


@router.post("", status_code=202)
async def start(user: Admin, session: Session) -> Run:
    """Sync all linked events."""
    return await runs.start(session, user.organization_id, user)


@router.get("")
async def past(user: User, session: Session, query: Annotated[CalendarRunQuery, Query()]) -> Page[Run]:
    """Syncs, newest first."""
    return await runs.past(session, user.organization_id, query)


@router.get("/{run_id}")
async def one(run_id: str, user: User, session: Session) -> Run:
    """One sync."""
    return await runs.get(session, user.organization_id, run_id)


@router.post("/{run_id}/stop", status_code=202)
async def stop(run_id: str, user: Admin, session: Session) -> Run:
    """Stop a sync safely."""
    return await runs.stop(session, user.organization_id, run_id)


@router.get("/{run_id}/changes")
async def changes(
    run_id: str, user: User, session: Session, query: Annotated[EventChangeQuery, Query()]
) -> Page[EventChange]:
    """The events behind a number of a sync."""
    return await runs.changes(session, user.organization_id, run_id, query)
