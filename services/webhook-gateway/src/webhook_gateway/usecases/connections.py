"""Follows connections and publishes the state of their webhook subscriptions."""

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.events.auth_connection_v1 import ConnectionClosing, ConnectionFact
from contracts.events.webhooks_subscription_v1 import SubscriptionsRemoved
from servicekit.kafka import outbox
from synckit.connections import follow
from webhook_gateway.storage.tables import Connection


async def connection_changed(session: AsyncSession, fact: ConnectionFact) -> Connection | None:
    """Store the connection's newest state. None if a newer one is already stored."""
    followed = await follow(session, Connection, fact, updated_at=func.clock_timestamp())
    return followed.connection if followed else None


async def remove_subscriptions(session: AsyncSession, fact: ConnectionClosing) -> None:
    """Answer a closing connection: auth-service waits for this before it revokes.

    No webhooks are subscribed at Planning Center yet, so both lists of the answer are empty.
    """
    connection = await connection_changed(session, fact)
    if connection is None:
        return
    connection.subscriptions_version += 1
    await session.flush()
    await outbox.append(
        session,
        SubscriptionsRemoved(
            organization_id=fact.organization_id,
            version=connection.subscriptions_version,
            product=fact.product,
            generation=fact.generation,
            occurred_at=connection.updated_at,
            removed=0,
        ),
    )
