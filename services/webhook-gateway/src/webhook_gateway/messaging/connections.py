"""Subscription to `auth.connection.v1`, shared by all replicas: each fact has its effect once."""

from sqlalchemy.ext.asyncio import AsyncSession

from contracts.events.auth_connection_v1 import ConnectionFact
from contracts.values import WEBHOOK_GATEWAY
from synckit.connections import subscribe_connections
from webhook_gateway.resources import Resources
from webhook_gateway.usecases.connections import connection_changed


async def on_fact(fact: ConnectionFact, session: AsyncSession, resources: Resources) -> None:
    """Store the newest state and act on it."""
    await connection_changed(session, fact, resources.settings, resources.vault, resources.clock)


connections = subscribe_connections(WEBHOOK_GATEWAY, on_fact)
