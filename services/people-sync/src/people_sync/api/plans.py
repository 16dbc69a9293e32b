"""Plans of runs: by page, and as a file."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from contracts.http.common import ListQuery, Page
from contracts.http.plans import PlanItem, PlanQuery
from people_sync.usecases import plans, runs
from servicekit.db.sessions import Session
from servicekit.http import spreadsheets
from servicekit.http.answers import KeyedRoute
from servicekit.http.auth import User

router = APIRouter(route_class=KeyedRoute, prefix="/api/v1/people/runs", tags=["runs"])


@router.get("/{run_id}/plan")
async def page(run_id: str, user: User, session: Session, query: Annotated[PlanQuery, Query()]) -> Page[PlanItem]:
    """List a run's planned or left out writes, by record and field."""
    return await plans.page(session, user.organization_id, run_id, query)


@router.get("/{run_id}/plan.csv")
async def file(
    run_id: str, user: User, session: Session, request: Request, _: Annotated[ListQuery, Query()]
) -> StreamingResponse:
    """The plan as CSV, one line per field."""
    run = await runs.with_lists(session, user.organization_id, run_id)
    return spreadsheets.file("plan", plans.as_csv(request.app.state.runtime.sessions, run))
