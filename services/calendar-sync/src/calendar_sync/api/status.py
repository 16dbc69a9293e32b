"""Numbers and state for the Calendar card."""

from fastapi import APIRouter

from calendar_sync.usecases.status import status
from contracts.http.calendar import CalendarStatus
from servicekit.db.sessions import Session
from servicekit.http.answers import KeyedRoute
from servicekit.http.auth import User

router = APIRouter(route_class=KeyedRoute, prefix="/api/v1/calendar/status", tags=["calendar"])


@router.get("")
async def get_status(user: User, session: Session) -> CalendarStatus:
    """The organization's present numbers."""
    return await status(session, user.organization_id)
