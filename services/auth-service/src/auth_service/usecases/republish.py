"""`python -m auth_service republish`: publishes every connection on auth.connection.v1 again.

For a service that lost facts (`servicekit_messages_lost_total`). Consumers ignore versions they already have.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.config import Settings
from auth_service.storage.tables import Connection
from auth_service.usecases.facts import told
from servicekit.kafka import republish as again
from servicekit.kafka.outbox import append_all

_ID = (Connection.organization_id, Connection.product)


async def republish(settings: Settings) -> None:
    """Publish all connections of all churches, in any state."""
    await again.republish(settings, connections=_page)


async def _page(session: AsyncSession, after: Any) -> tuple[int, Any]:
    query = select(Connection)
    if after is not None:
        query = query.where(tuple_(*_ID) > after)
    rows = (await session.scalars(query.order_by(*_ID).limit(again.BATCH).with_for_update())).all()
    now = datetime.now(UTC)
    await append_all(session, [told(row, now) for row in rows])
    return len(rows), (rows[-1].organization_id, rows[-1].product) if len(rows) == again.BATCH else None
