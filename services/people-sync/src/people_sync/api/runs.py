"""Runs: Sync Now, progress, questions, history."""

from typing import Annotated

from fastapi import APIRouter, Query

from contracts.http.common import Page
from contracts.http.people import AnswerRun, RejectionGroup, RunItem, RunItemQuery, RunQuery, StartRun
from contracts.sync_runs import Run
from people_sync.resources import Wired
from people_sync.usecases import runs
from servicekit.db.sessions import Session
from servicekit.http.answers import KeyedRoute
from servicekit.http.auth import Admin, User

router = APIRouter(route_class=KeyedRoute, prefix="/api/v1/people/runs", tags=["runs"])


@router.post("", status_code=202)
async def start(body: StartRun, user: Admin, session: Session) -> Run:
    """Sync Now, or Preview; joins the run in progress."""
    purpose = "preview" if body.preview else "sync"
    return await runs.start(session, user.organization_id, body.kind, "person", user, purpose=purpose)


@router.get("")
async def history(user: User, session: Session, query: Annotated[RunQuery, Query()]) -> Page[Run]:
    """Run history, newest first."""
    return await runs.history(session, user.organization_id, query)


@router.get("/{run_id}")
async def one(run_id: str, user: User, session: Session) -> Run:
    """One run."""
    return await runs.get(session, user.organization_id, run_id)


@router.get("/{run_id}/items")
async def items(run_id: str, user: User, session: Session, query: Annotated[RunItemQuery, Query()]) -> Page[RunItem]:
    """The list behind a number of a run."""
    return await runs.items(session, user.organization_id, run_id, query)


@router.get("/{run_id}/rejections")
async def rejections(run_id: str, user: User, session: Session) -> Page[RejectionGroup]:
    """List Planning Center's refusals, grouped by cause."""
    return await runs.rejections(session, user.organization_id, run_id)


@router.post("/{run_id}/stop", status_code=202)
async def stop(run_id: str, user: Admin, session: Session) -> Run:
    """Stop the run safely."""
    return await runs.stop(session, user.organization_id, run_id)


@router.post("/{run_id}/answer", status_code=202)
async def answer(run_id: str, body: AnswerRun, user: Admin, session: Session, wired: Wired) -> Run:
    """Answer a waiting run's question."""
    return await runs.answer(session, user.organization_id, run_id, body, user, wired.clock.now())
