"""auth.connection.v1: what became of a church's Calendar connection."""

from sqlalchemy.ext.asyncio import AsyncSession

from calendar_sync.usecases.connections import follow
from contracts.events.auth_connection_v1 import (
    ConnectionAuthorized,
    ConnectionClosing,
    ConnectionFact,
    ConnectionRevoked,
    ReconnectRequired,
)
from servicekit.kafka.subscriptions import subscribe


async def on_fact(event: ConnectionFact, session: AsyncSession, _: None) -> None:
    """Keep the connection's newest state."""
    await follow(session, event)


connections = subscribe(
    "auth.connection.v1",
    group="calendar-sync.connections",
    handlers=dict.fromkeys((ConnectionAuthorized, ConnectionClosing, ConnectionRevoked, ReconnectRequired), on_fact),
    after_loss="python -m auth_service republish",
)
