"""Facts of auth.connection.v1: the connected Planning Center organization, if any."""

from sqlalchemy.ext.asyncio import AsyncSession

from contracts.events.auth_connection_v1 import ConnectionFact
from contracts.values import PEOPLE_SYNC
from people_sync.resources import Resources
from people_sync.usecases.connections import connection_changed
from synckit.connections import subscribe_connections


async def on_fact(event: ConnectionFact, session: AsyncSession, _: Resources) -> None:
    """Store the connection's state."""
    await connection_changed(session, event)


connections = subscribe_connections(PEOPLE_SYNC, on_fact)
