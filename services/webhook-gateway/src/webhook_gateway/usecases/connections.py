"""Follows connections: each new generation gets a key, and the care of its subscriptions begins."""

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.events.auth_connection_v1 import ConnectionFact
from servicekit.clock import Clock
from servicekit.vault import Vault
from synckit.connections import follow
from webhook_gateway.config import Settings
from webhook_gateway.storage import subscriptions as stored
from webhook_gateway.storage.tables import Connection
from webhook_gateway.usecases import subscriptions


async def connection_changed(
    session: AsyncSession, fact: ConnectionFact, settings: Settings, vault: Vault, clock: Clock
) -> Connection | None:
    """Store the connection's newest state, and act on it. None if a newer one is already stored."""
    followed = await follow(session, Connection, fact, updated_at=func.clock_timestamp())
    if followed is None:
        return None
    connection, now = followed.connection, clock.now()
    match connection.state:
        case "connected":
            await subscriptions.ensure_key(session, connection, settings, vault, now)
            await subscriptions.begin(session, connection)
        case "closing":
            # auth-service waits for the answer before it revokes.
            if await stored.unretired(session, connection.organization_id, connection.product, connection.generation):
                await subscriptions.begin(session, connection)
            else:
                await subscriptions.tell_removed(session, connection, removed=0, left_behind=())
        case "disconnected":
            await stored.retire(
                session, connection.organization_id, connection.product, up_to=connection.generation, now=now
            )
    return connection
