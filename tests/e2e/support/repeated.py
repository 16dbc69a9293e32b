"""Repeats published facts."""

from typing import Final
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from contracts.topics import TOPICS

CONFLICTS: Final = "people.conflict.v1"
RESOLUTIONS: Final = "conflicts.resolution.v1"


async def publish_again(bootstrap_servers: str, topics: tuple[str, ...]) -> dict[str, int]:
    """Publish all messages of these topics again as new ones, last first. Gives their number by topic."""
    counts = {}
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all", enable_idempotence=True)
    await consumer.start()
    await producer.start()
    try:
        for topic in topics:
            partitions = [TopicPartition(topic, number) for number in range(TOPICS[topic].partitions)]
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            found = []
            await consumer.seek_to_beginning(*partitions)
            while any([await consumer.position(partition) < ends[partition] for partition in partitions]):
                for batch in (await consumer.getmany(timeout_ms=500)).values():
                    found += batch
            for message in sorted(found, key=lambda each: (each.timestamp, each.offset), reverse=True):
                headers = [(name, value) for name, value in message.headers if name != "ce_id"]
                headers.append(("ce_id", str(uuid4()).encode()))
                await producer.send_and_wait(topic, message.value, key=message.key, headers=headers)
            counts[topic] = len(found)
    finally:
        await producer.stop()
        await consumer.stop()
    return counts
