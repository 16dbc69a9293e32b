"""auth.connection.v1: whether, and with which Planning Center organization, there is something to sync."""

from sqlalchemy.ext.asyncio import AsyncSession

from contracts.events.auth_connection_v1 import (
    ConnectionAuthorized,
    ConnectionClosing,
    ConnectionFact,
    ConnectionRevoked,
    ReconnectRequired,
)
from people_sync.resources import Resources
from people_sync.usecases.connections import connection_changed
from servicekit.kafka.subscriptions import subscribe


async def on_fact(event: ConnectionFact, session: AsyncSession, _: Resources) -> None:
    """Keep the connection's state."""
    await connection_changed(session, event)


connections = subscribe(
    "auth.connection.v1",
    group="people-sync.connections",
    handlers={
        ConnectionAuthorized: on_fact,
        ConnectionClosing: on_fact,
        ConnectionRevoked: on_fact,
        ReconnectRequired: on_fact,
    },
    after_loss="python -m auth_service republish",
)
