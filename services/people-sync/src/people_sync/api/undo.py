"""Undo: a run that shows the values to put back, and waits for approval."""

from fastapi import APIRouter

from contracts.http.plans import UndoInput
from contracts.sync_runs import Run
from people_sync.resources import Wired
from people_sync.usecases import undo
from servicekit.db.sessions import Session
from servicekit.http.answers import KeyedRoute
from servicekit.http.auth import Admin

router = APIRouter(route_class=KeyedRoute, prefix="/api/v1/people/undo", tags=["Undo"])


@router.post("", status_code=202)
async def start(body: UndoInput, user: Admin, session: Session, wired: Wired) -> Run:
    """Plan an undo; its first write needs an approval."""
    return await undo.start(session, user, body, wired.clock.now())
