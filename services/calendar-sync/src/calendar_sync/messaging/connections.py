"""Facts of auth.connection.v1 about Calendar connections."""

from sqlalchemy.ext.asyncio import AsyncSession

from calendar_sync.usecases.connections import connection_changed
from contracts.events.auth_connection_v1 import ConnectionFact
from contracts.values import CALENDAR_SYNC
from synckit.connections import subscribe_connections


async def on_fact(event: ConnectionFact, session: AsyncSession, _: None) -> None:
    """Store the connection's newest state."""
    await connection_changed(session, event)


connections = subscribe_connections(CALENDAR_SYNC, on_fact)
