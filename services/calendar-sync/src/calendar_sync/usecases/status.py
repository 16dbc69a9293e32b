"""The data of the Calendar card: state, counts, checks and syncs."""

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from calendar_sync.domain.sentences import ROLE_IS_GONE, SOME_UNREAD, ZONE_UNKNOWN
from calendar_sync.storage import links
from calendar_sync.storage.links import Owner
from calendar_sync.storage.runs import RUNS
from calendar_sync.storage.tables import CalendarConnection, Event, EventLink, Run
from calendar_sync.usecases import settings
from contracts.http.calendar import CalendarStatus
from synckit import runs


async def status(session: AsyncSession, organization_id: str) -> CalendarStatus:
    """The organization's present numbers."""
    connection = await session.get(CalendarConnection, organization_id)
    chosen = await settings.read(session, organization_id)
    connected = connection is not None and connection.state == "connected"
    numbers: dict[str, int] = {}
    if connection is not None:
        owner = Owner(organization_id, connection.pco_organization_id)
        query = select(EventLink.state, func.count()).filter_by(**owner.columns)
        here = query.join(Event, Event.id == EventLink.event_id).where(Event.deleted_at.is_(None))
        numbers = dict((await session.execute(here.group_by(EventLink.state))).all())
    run = await runs.open_run(session, RUNS, organization_id)
    ended = select(Run).where(Run.organization_id == organization_id, Run.finished_at.is_not(None))
    last = await session.scalar(ended.order_by(Run.created_at.desc(), Run.id.desc()).limit(1))
    missing = connection is not None and connection.role_missing
    checked = connection is not None and connected and connection.checked_at is not None
    unknown_zone = checked and connection is not None and connection.time_zone is None
    linked = numbers.get(links.LINKED, 0)
    unread = connection is not None and connected and linked > 0 and connection.left_unread
    return CalendarStatus(
        connected=connected,
        role_missing=missing,
        message=ROLE_IS_GONE if missing else ZONE_UNKNOWN if unknown_zone else SOME_UNREAD if unread else None,
        time_zone=connection.time_zone if connection else None,
        linked=linked,
        gone=numbers.get(links.GONE, 0),
        poll_minutes=chosen.poll_minutes,
        checked_at=connection.checked_at if connection else None,
        next_check_at=connection.next_poll_at if connection and connected and linked else None,
        run=runs.render(RUNS, run) if run else None,
        last_run=runs.render(RUNS, last) if last else None,
    )
