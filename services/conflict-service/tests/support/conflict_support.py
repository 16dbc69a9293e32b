"""Facts as people-sync publishes them."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from aiokafka import AIOKafkaConsumer

from contracts.conflicts import ConflictField, ConflictRecord
from contracts.events.people_conflict_v1 import ConflictFact, ResolutionApplied, ResolutionOvertaken
from servicekit.kafka.subscriptions import EventHeaders, Fact
from servicekit.testing.time import PATIENCE_SECONDS

START = datetime(2026, 1, 5, 12, tzinfo=UTC)


def fact(
    kind: type[ConflictFact],
    version: int,
    *,
    organization_id: str = "church",
    conflict_id: str = "conflict",
    family_ids: tuple[str, ...] = (),
    ours: str = "Anna",
    minutes: int | None = None,
    values_version: int = 1,
) -> ConflictFact:
    """One fact; later versions occur later unless `minutes` says otherwise."""
    extra: dict[str, Any] = {"decision_id": "d"} if kind in {ResolutionApplied, ResolutionOvertaken} else {}
    return kind(
        organization_id=organization_id,
        version=version,
        conflict_id=conflict_id,
        record=ConflictRecord(
            kind="member", id=f"member-of-{conflict_id}", name="Anna Berg", pco_id="7", family_ids=family_ids
        ),
        fields=(ConflictField(field="first_name", base="Ann", ours=ours, theirs="Anne"),),
        values_version=values_version,
        occurred_at=START + timedelta(minutes=version if minutes is None else minutes),
        **extra,
    )


def message(event: ConflictFact) -> Fact[ConflictFact]:
    """The fact as a Kafka message."""
    headers = EventHeaders(str(uuid4()), type(event).__name__, "/people-sync", START.isoformat(), str(uuid4()), None)
    return Fact(event, headers)


async def told_decisions(kafka: str, church: str, count: int) -> list[dict[str, Any]]:
    """A church's first decisions, as published to people-sync."""
    consumer = AIOKafkaConsumer(
        "conflicts.resolution.v1",
        bootstrap_servers=kafka,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    await consumer.start()
    found: list[dict[str, Any]] = []
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(found) < count:
                body = json.loads((await consumer.getone()).value)
                found += [body] if body["organization_id"] == church else []
    finally:
        await consumer.stop()
    return found
