"""Occurrences within a window of days."""

from typing import Annotated

from fastapi import APIRouter, Query

from calendar_sync.resources import Wired
from calendar_sync.usecases import occurrences
from contracts.calendar import ListedOccurrence
from contracts.http.calendar import OccurrenceQuery
from contracts.http.common import Page
from servicekit.db.sessions import Session
from servicekit.http.answers import KeyedRoute
from servicekit.http.auth import User

router = APIRouter(route_class=KeyedRoute, prefix="/api/v1/calendar/occurrences", tags=["calendar"])


@router.get("")
async def list_occurrences(
    query: Annotated[OccurrenceQuery, Query()], user: User, session: Session, wired: Wired
) -> Page[ListedOccurrence]:
    """List what takes place on some days, in the order of its start."""
    return await occurrences.page(session, user.organization_id, query, wired.clock.now())
