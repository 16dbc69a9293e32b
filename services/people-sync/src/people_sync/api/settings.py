"""An organization's settings of the People sync."""

from fastapi import APIRouter

from contracts.http.people import PeopleSettings, PeopleSettingsPatch
from people_sync.resources import Wired
from people_sync.usecases import settings
from servicekit.db.sessions import Session
from servicekit.http.answers import KeyedRoute
from servicekit.http.auth import Admin, User

router = APIRouter(route_class=KeyedRoute, prefix="/api/v1/people/settings", tags=["Settings"])


@router.get("")
async def read_settings(user: User, session: Session) -> PeopleSettings:
    """Settings of the sync."""
    return await settings.read(session, user.organization_id)


@router.patch("")
async def change_settings(body: PeopleSettingsPatch, user: Admin, session: Session, wired: Wired) -> PeopleSettings:
    """Change settings of the sync."""
    return await settings.change(session, user.organization_id, body, wired.clock.now())
