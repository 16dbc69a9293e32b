"""The regular check of linked events: the guaranteed way in which changes of Planning Center come here.

A check is a job, one of a church at a time anywhere. One that dies is begun again by another process.
"""

from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import ColumnElement, exists, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from calendar_sync.domain.schedule import next_check
from calendar_sync.resources import Resources
from calendar_sync.storage import links
from calendar_sync.storage.links import Owner
from calendar_sync.storage.runs import interval_of
from calendar_sync.storage.tables import CalendarConnection, EventLink, Push
from calendar_sync.usecases.check import Check, check, zone_for
from calendar_sync.usecases.history import POLL, Cause
from calendar_sync.usecases.schedule import locked_connection
from calendar_sync.usecases.waiting import look_for_waiting
from pco_client.client import PlanningCenter
from pco_client.errors import Forbidden, LeaseUnavailable, PlanningCenterError, Unauthorized, Unavailable
from servicekit.jobs import queue as jobs
from servicekit.jobs.worker import JobContext
from synckit import runs
from synckit.among import among
from synckit.errors import NotConnected

KIND: Final = "calendar.poll"
_SOON: Final = timedelta(minutes=1)
"""After a check that did not read all windows."""
_IDLE_AT_ONCE: Final = 1_000
"""Churches that one round takes off the schedule."""
_FARTHEST: Final = timedelta(hours=2)
"""The longest interval that an administrator can choose."""

log = structlog.get_logger(__name__)


async def start_due(session: AsyncSession, now: datetime) -> int:
    """Queue the due checks. Returns the number of due organizations.

    A church without linked events costs nothing, once its zone is known.
    """
    linked = exists().where(
        EventLink.organization_id == CalendarConnection.organization_id,
        EventLink.pco_organization_id == CalendarConnection.pco_organization_id,
    )
    waiting = exists().where(
        Push.organization_id == CalendarConnection.organization_id,
        Push.pco_organization_id == CalendarConnection.pco_organization_id,
        Push.state == links.WAITING,
    )
    # A clock that jumped ahead and back again leaves an instant that no interval reaches.
    impossible = CalendarConnection.next_poll_at > now + _FARTHEST
    await session.execute(update(CalendarConnection).where(impossible).values(next_poll_at=now))
    unknown = CalendarConnection.time_zone.is_(None) & CalendarConnection.checked_at.is_(None)
    wanted = or_(linked, waiting, unknown)
    await _stop_idle(session, now, wanted)
    due = await runs.due(session, CalendarConnection, CalendarConnection.next_poll_at, now, wanted)
    for connection in due:
        interval = await interval_of(session, connection.organization_id)
        connection.next_poll_at = next_check(connection.organization_id, interval, now)
        await jobs.enqueue(session, KIND, connection.organization_id)
    return len(due)


async def _stop_idle(session: AsyncSession, now: datetime, wanted: ColumnElement[bool]) -> None:
    """Take the checks of churches that need none off the schedule, so that no later round looks at them."""
    idle = select(CalendarConnection.organization_id).where(
        CalendarConnection.state == "connected", CalendarConnection.next_poll_at <= now, ~wanted
    )
    found = list(await session.scalars(idle.limit(_IDLE_AT_ONCE).with_for_update(skip_locked=True)))
    if found:
        # Asked again by a statement of its own, which sees a link that was made before the rows were locked.
        none = update(CalendarConnection).where(among(CalendarConnection.organization_id, found), ~wanted)
        await session.execute(none.values(next_poll_at=None), execution_options={"synchronize_session": False})


async def poll(job: JobContext, resources: Resources) -> None:
    """Check a church's linked events (`servicekit.jobs.queue.Run`)."""
    async with job.sessions() as session:
        connection = await session.get(CalendarConnection, job.organization_id)
    if connection is None or connection.state != "connected":
        return
    owner = Owner(connection.organization_id, connection.pco_organization_id)
    try:
        async with resources.planning_center(job.organization_id, owner.pco_organization_id) as pco:
            found = await _check(job, resources, pco, connection, owner)
        await _end(job, resources, owner, found=found, role_missing=False)
    except (NotConnected, Unauthorized):
        # A fact about the connection begins the next check.
        log.info("not connected", organization_id=job.organization_id)
    except Forbidden:
        await _end(job, resources, owner, found=None, role_missing=True)
    except (Unavailable, LeaseUnavailable, PlanningCenterError) as error:
        log.warning("check not complete", organization_id=job.organization_id, exc_info=error)
        await _end(job, resources, owner, found=None, role_missing=None)


async def _check(
    job: JobContext, resources: Resources, pco: PlanningCenter, connection: CalendarConnection, owner: Owner
) -> Check:
    async def told(_link: EventLink, _outcome: str) -> None:
        return

    one = Check(
        job=job,
        resources=resources,
        pco=pco,
        owner=owner,
        zone=await zone_for(resources, pco, connection, resources.clock.now()),
        density=connection.density,
        cause=Cause(POLL, job.id),
        told=told,
        every=False,
    )
    await check(one)
    await look_for_waiting(one)
    return one


async def _end(
    job: JobContext, resources: Resources, owner: Owner, *, found: Check | None, role_missing: bool | None
) -> None:
    now = resources.clock.now()
    async with job.transaction() as session:
        connection = await locked_connection(session, owner)
        if connection is not None:
            await conclude(session, connection, found, now)
            if role_missing is not None:
                connection.role_missing = role_missing


async def conclude(session: AsyncSession, connection: CalendarConnection, found: Check | None, now: datetime) -> None:
    """Note the end of a check, and when the next one is due. `found`: None if it ended early."""
    if found is not None and found.read_days:
        connection.density = found.read_rows / found.read_days
    if found is not None and not found.incomplete:
        # What an event that cannot be read holds back is not what others wait for: it alone is tried again in time.
        connection.checked_from = found.began_at
        if not found.unread:
            connection.checked_at = now
    elif connection.next_poll_at is not None:
        connection.next_poll_at = min(connection.next_poll_at, now + _SOON)
    owner = Owner(connection.organization_id, connection.pco_organization_id)
    if (
        connection.checked_at is not None
        and not await links.any_of(session, owner)
        and not await links.waits(session, owner)
    ):
        connection.next_poll_at = None
