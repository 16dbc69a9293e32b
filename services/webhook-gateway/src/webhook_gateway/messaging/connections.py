"""Subscription to `auth.connection.v1`, shared by all replicas: each fact has its effect once."""

from sqlalchemy.ext.asyncio import AsyncSession

from contracts.events.auth_connection_v1 import (
    ConnectionAuthorized,
    ConnectionClosing,
    ConnectionFact,
    ConnectionRevoked,
    ReconnectRequired,
)
from servicekit.kafka.subscriptions import subscribe
from webhook_gateway.resources import Resources
from webhook_gateway.usecases.connections import follow, remove_subscriptions


async def on_changed(fact: ConnectionFact, session: AsyncSession, _: Resources) -> None:
    """Store the newest state."""
    await follow(session, fact)


async def on_closing(fact: ConnectionClosing, session: AsyncSession, _: Resources) -> None:
    """Store the state and answer that no subscriptions remain."""
    await remove_subscriptions(session, fact)


connections = subscribe(
    "auth.connection.v1",
    group="webhook-gateway.connections",
    handlers={
        ConnectionAuthorized: on_changed,
        ConnectionClosing: on_closing,
        ConnectionRevoked: on_changed,
        ReconnectRequired: on_changed,
    },
    after_loss="python -m auth_service republish",
)
