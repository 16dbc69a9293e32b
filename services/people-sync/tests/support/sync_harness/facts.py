"""Facts of other services, published as their relay does."""

from datetime import UTC, datetime
from uuid import uuid4

from aiokafka import AIOKafkaProducer

from contracts.base import Event
from contracts.topics import topic_of


async def publish(kafka: str, event: Event, source: str) -> None:
    """Say what another service would."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    headers = {
        "ce_id": uuid4().hex,
        "ce_type": type(event).__name__,
        "ce_source": f"/{source}",
        "ce_time": datetime.now(UTC).isoformat(),
    }
    try:
        await producer.send_and_wait(
            topic_of(type(event)).name,
            event.model_dump_json().encode(),
            key=event.key.encode(),
            headers=[(name, value.encode()) for name, value in headers.items()],
        )
    finally:
        await producer.stop()
