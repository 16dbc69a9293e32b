"""The connection whose linked events are checked, and its first check."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from calendar_sync.domain.schedule import next_check
from calendar_sync.storage.links import Owner
from calendar_sync.storage.runs import interval_of
from calendar_sync.storage.tables import CalendarConnection


async def first_check(session: AsyncSession, connection: CalendarConnection, now: datetime) -> None:
    """Schedule checks for a church that had no linked event. The connection is locked."""
    if connection.next_poll_at is None:
        interval = await interval_of(session, connection.organization_id)
        connection.next_poll_at = next_check(connection.organization_id, interval, now)


async def locked_connection(session: AsyncSession, owner: Owner) -> CalendarConnection | None:
    """The connection, locked; None if it is another one by now."""
    query = select(CalendarConnection).filter_by(**owner.columns, state="connected").with_for_update()
    return await session.scalar(query.execution_options(populate_existing=True))
