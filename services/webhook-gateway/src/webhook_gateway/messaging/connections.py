"""Subscription to `auth.connection.v1`, shared by all replicas: each fact has its effect once."""

from sqlalchemy.ext.asyncio import AsyncSession

from contracts.events.auth_connection_v1 import ConnectionClosing, ConnectionFact
from contracts.values import WEBHOOK_GATEWAY
from synckit.connections import subscribe_connections
from webhook_gateway.resources import Resources
from webhook_gateway.usecases.connections import connection_changed, remove_subscriptions


async def on_changed(fact: ConnectionFact, session: AsyncSession, _: Resources) -> None:
    """Store the newest state."""
    await connection_changed(session, fact)


async def on_closing(fact: ConnectionClosing, session: AsyncSession, _: Resources) -> None:
    """Store the state and answer that no subscriptions remain."""
    await remove_subscriptions(session, fact)


connections = subscribe_connections(WEBHOOK_GATEWAY, on_changed, on_closing=on_closing)
