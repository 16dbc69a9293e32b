"""Counts and runs for the People card."""

from fastapi import APIRouter

from contracts.http.people import PeopleStatus
from people_sync.usecases.status import status
from servicekit.db.sessions import Session
from servicekit.http.answers import KeyedRoute
from servicekit.http.auth import User

router = APIRouter(route_class=KeyedRoute, prefix="/api/v1/people/status", tags=["status"])


@router.get("")
async def get_status(user: User, session: Session) -> PeopleStatus:
    """The organization's present numbers."""
    return await status(session, user.organization_id)
