"""`auth.connection.v1`, shared by all replicas: each fact has its effect once."""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from contracts.events.auth_connection_v1 import (
    ConnectionAuthorized,
    ConnectionClosing,
    ConnectionFact,
    ConnectionRevoked,
    ReconnectRequired,
)
from servicekit.kafka import subscribe
from webhook_gateway.usecases import connections


async def on_changed(fact: ConnectionFact, session: AsyncSession, resources: Any) -> None:  # noqa: ARG001
    """Keep the newest state."""
    await connections.follow(session, fact)


async def on_closing(fact: ConnectionClosing, session: AsyncSession, resources: Any) -> None:  # noqa: ARG001
    """Keep it, and answer."""
    await connections.remove_subscriptions(session, fact)


SUBSCRIPTIONS = (
    subscribe(
        "auth.connection.v1",
        group="webhook-gateway.connections",
        handlers={
            ConnectionAuthorized: on_changed,
            ConnectionClosing: on_closing,
            ConnectionRevoked: on_changed,
            ReconnectRequired: on_changed,
        },
    ),
)
