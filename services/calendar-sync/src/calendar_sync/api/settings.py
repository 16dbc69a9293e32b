"""The platform API's calls about the Calendar's settings; see contracts.routes."""

from fastapi import APIRouter

from calendar_sync.resources import Wired
from calendar_sync.usecases import settings
from contracts.http.calendar import CalendarSettings, CalendarSettingsPatch
from servicekit.db.sessions import Session
from servicekit.http.answers import KeyedRoute
from servicekit.http.auth import Admin, User

router = APIRouter(route_class=KeyedRoute, prefix="/api/v1/calendar/settings", tags=["calendar"])


@router.get("")
async def get_settings(user: User, session: Session) -> CalendarSettings:
    """The settings."""
    return await settings.read(session, user.organization_id)


@router.patch("")
async def change_settings(
    patch: CalendarSettingsPatch, user: Admin, session: Session, wired: Wired
) -> CalendarSettings:
    """Change the fields sent."""
    return await settings.change(session, user.organization_id, patch, wired.clock.now())
