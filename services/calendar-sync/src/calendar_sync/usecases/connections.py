"""The state of Calendar connections, from auth-service's facts."""

from sqlalchemy.ext.asyncio import AsyncSession

from calendar_sync.domain.sentences import ANOTHER_ORGANIZATION, DISCONNECTED, NOT_DONE
from calendar_sync.storage.runs import RUNS
from calendar_sync.storage.tables import CalendarConnection
from calendar_sync.usecases import polling, push
from calendar_sync.usecases.refreshes import REFRESHES
from contracts.events.auth_connection_v1 import ConnectionFact
from contracts.values import CALENDAR
from synckit import refreshes, runs
from synckit.connections import follow
from synckit.refreshes import Done
from synckit.standstill import hold_jobs

_KINDS = (RUNS.job, REFRESHES.job, polling.KIND)


async def connection_changed(session: AsyncSession, fact: ConnectionFact) -> None:
    """Store a fact if it is newer, then check at once, or stop.

    Links stay: those of the organization that is connected again are found, and checked.
    """
    if fact.product != CALENDAR:
        return
    await hold_jobs(session, fact.organization_id, _KINDS)
    followed = await follow(session, CalendarConnection, fact)
    if followed is None:
        return
    connection = followed.connection
    if followed.moved:
        connection.time_zone = connection.checked_at = connection.checked_from = connection.density = None
        connection.may_create = connection.may_create_at = None
        moved = Done(NOT_DONE, ANOTHER_ORGANIZATION)
        await refreshes.end(session, REFRESHES, fact.organization_id, moved, fact.occurred_at)
        await push.stop_all(session, fact.organization_id)
    if fact.state == "connected":
        connection.next_poll_at = fact.occurred_at
        connection.role_missing = False
        await runs.resume_waiting(session, RUNS, fact.organization_id)
        await refreshes.resume_waiting(session, REFRESHES, fact.organization_id)
    else:
        connection.next_poll_at = None
    if fact.state in {"closing", "disconnected"}:
        await runs.stop_open(session, RUNS, fact.organization_id)
        ended = Done(NOT_DONE, DISCONNECTED)
        await refreshes.end(session, REFRESHES, fact.organization_id, ended, fact.occurred_at)
        await push.stop_all(session, fact.organization_id)
