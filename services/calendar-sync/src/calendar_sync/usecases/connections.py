"""The state of Calendar connections."""

from sqlalchemy.ext.asyncio import AsyncSession

from calendar_sync.storage.tables import CalendarConnection
from contracts.events.auth_connection_v1 import ConnectionFact
from contracts.values import CALENDAR
from synckit.connections import follow


async def connection_changed(session: AsyncSession, fact: ConnectionFact) -> None:
    """Store the fact if it is newer."""
    if fact.product == CALENDAR:
        await follow(session, CalendarConnection, fact)
