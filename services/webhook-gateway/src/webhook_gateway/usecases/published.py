"""Noting in the delivery log that Kafka has confirmed a delivery's fact."""

from collections.abc import Sequence
from typing import Any

import orjson
from sqlalchemy import BigInteger, Row, any_, func, literal, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.events.webhooks_delivery_v1 import WebhookReceived
from contracts.topics import topic_of
from webhook_gateway.storage.tables import Delivery


async def published(connection: AsyncConnection, rows: Sequence[Row[Any]]) -> None:
    """Called by the relay, see `servicekit.kafka.outbox.Published`."""
    topic = topic_of(WebhookReceived).name
    numbers = [orjson.loads(row.value)["version"] for row in rows if row.topic == topic]
    if numbers:
        # In the order of the numbers, as everywhere in the log: outcomes come while this is not committed yet.
        these = select(Delivery.id).where(Delivery.id == any_(literal(numbers, ARRAY(BigInteger))))
        held = these.order_by(Delivery.id).with_for_update().cte("held")
        await connection.execute(
            update(Delivery).where(Delivery.id == held.c.id).values(published_at=func.clock_timestamp())
        )
