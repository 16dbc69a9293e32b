"""Publishes facts as another service would, and takes those of the tested one."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import orjson
from aiokafka import AIOKafkaProducer
from sqlalchemy import select

from contracts.base import Event
from contracts.topics import topic_of
from servicekit.db.sessions import Sessions
from servicekit.db.tables import OUTBOX


async def publish(bootstrap_servers: str, fact: Event, source: str) -> None:
    """Publish facts of the service `source`, with a new producer."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap_servers) as producer:
        await send(producer, fact, source)


async def send(producer: AIOKafkaProducer, fact: Event, source: str, *, event_id: str | None = None) -> None:
    """As `publish`, with a given producer. `event_id`: ce_id, a new one by default."""
    headers = {
        "ce_specversion": "1.0",
        "content-type": "application/json",
        "ce_id": event_id or str(uuid4()),
        "ce_type": type(fact).__name__,
        "ce_source": f"/{source}",
        "ce_time": datetime.now(UTC).isoformat(),
    }
    await producer.send_and_wait(
        topic_of(type(fact)).name,
        fact.model_dump_json().encode(),
        key=fact.key.encode(),
        headers=[(name, value.encode()) for name, value in headers.items()],
    )


async def take(sessions: Sessions) -> list[tuple[str, str, Any]]:
    """Empty the outbox. Its messages, the oldest first: (type, key, body), body None for a tombstone."""
    async with sessions.begin() as session:
        rows = (await session.execute(select(OUTBOX).order_by(OUTBOX.c.id))).all()
        await session.execute(OUTBOX.delete())
    return [
        (row.headers["ce_type"], row.key, orjson.loads(row.value) if row.value is not None else None) for row in rows
    ]
