"""Follows connections and publishes the state of their webhook subscriptions."""

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.events.auth_connection_v1 import ConnectionClosing, ConnectionFact
from contracts.events.webhooks_subscription_v1 import SubscriptionsRemoved
from servicekit.kafka import outbox
from webhook_gateway.storage.tables import Connection


async def follow(session: AsyncSession, fact: ConnectionFact) -> Connection | None:
    """Store the connection's newest state. None if a newer one is already stored."""
    state = {
        "generation": fact.generation,
        "state": fact.state,
        "pco_organization_id": fact.pco_organization_id,
        "version": fact.version,
        "updated_at": func.clock_timestamp(),
    }
    statement = (
        insert(Connection)
        .values(organization_id=fact.organization_id, product=fact.product, subscriptions_version=0, **state)
        .on_conflict_do_update(
            index_elements=["organization_id", "product"], set_=state, where=Connection.version < fact.version
        )
        .returning(Connection)
    )
    return (await session.scalars(statement, execution_options={"populate_existing": True})).one_or_none()


async def remove_subscriptions(session: AsyncSession, fact: ConnectionClosing) -> None:
    """Answer a closing connection: auth-service waits for this before it revokes.

    No webhooks are subscribed at Planning Center yet, so both lists of the answer are empty.
    """
    connection = await follow(session, fact)
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
