"""Search in Planning Center, and suggestions. Both are read while the caller waits, outside of a transaction."""

from typing import Annotated

from fastapi import APIRouter, Query

from calendar_sync.resources import Wired
from calendar_sync.usecases import suggestions
from calendar_sync.usecases.there import search_there
from contracts.http.calendar import EventsThere, Suggested, Suggestions, ThereQuery
from contracts.http.common import Page, PageQuery
from servicekit.http.answers import KeyedRoute
from servicekit.http.auth import User

router = APIRouter(route_class=KeyedRoute, prefix="/api/v1/calendar", tags=["links"])


@router.get("/there")
async def search(query: Annotated[ThereQuery, Query()], user: User, wired: Wired) -> EventsThere:
    """Search by name and days."""
    return await search_there(wired, user.organization_id, query)


@router.get("/suggestions")
async def suggested(query: Annotated[PageQuery, Query()], user: User, wired: Wired) -> Page[Suggested]:
    """List upcoming events without a link, each with its most likely suggestion."""
    return await suggestions.upcoming(wired, user.organization_id, query)


@router.get("/events/{event_id}/suggestions")
async def suggested_for(event_id: str, user: User, wired: Wired) -> Suggestions:
    """Candidates for one event."""
    return await suggestions.of_event(wired, user.organization_id, event_id)
