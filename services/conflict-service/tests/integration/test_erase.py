"""A record erased by people-sync is in no table here, and late facts about it are ignored."""

import json
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer
from conflict_church import Church
from conflict_support import START, fact
from fastapi import FastAPI
from sqlalchemy import func, select, text

from contracts.events.people_conflict_v1 import ConflictDetected, RecordErased, ResolutionApplied
from contracts.values import PEOPLE_SYNC
from servicekit.kafka.outbox import _RELAY_LOCK
from servicekit.testing import eventually
from servicekit.testing.facts import publish

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def found(app: FastAPI, *values: str) -> set[str]:
    """The columns of all tables that hold one of these values."""
    where = set[str]()
    async with app.state.runtime.sessions() as session:
        columns = await session.execute(
            text(
                "SELECT table_name, column_name, data_type FROM information_schema.columns"
                " WHERE table_schema = 'public'"
            )
        )
        for table, column, type_ in columns.all():
            said = f"encode(\"{column}\", 'escape')" if type_ == "bytea" else f'"{column}"::text'
            query = text(f'SELECT count(*) FROM "{table}" WHERE {said} LIKE ANY (:values)')
            if await session.scalar(query, {"values": [f"%{value}%" for value in values]}):
                where.add(f"{table}.{column}")
    return where


async def told(kafka: str, topic: str, until: str, keys: set[str]) -> list[tuple[str, str, Any]]:
    """The messages of these keys until each has one of this type: key, type, body."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=kafka, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    await consumer.start()
    seen: list[tuple[str, str, Any]] = []

    async def there() -> bool:
        for batch in (await consumer.getmany(timeout_ms=200)).values():
            for message in batch:
                body = json.loads(message.value) if message.value else None
                if (key := (message.key or b"").decode()) in keys:
                    kind = "tombstone" if body is None else dict(message.headers)["ce_type"].decode()
                    seen.append((key, kind, body))
        return {key for key, kind, _ in seen if kind == until} == keys

    try:
        await eventually(there)
    finally:
        await consumer.stop()
    return seen


async def test_an_erased_record_leaves_no_trace(app: FastAPI, ada: Church, church: str, kafka_server: str) -> None:
    name = f"Value{uuid4().hex[:8]}"
    one, other = f"c-{uuid4().hex[:8]}", f"c-{uuid4().hex[:8]}"
    values: dict[str, Any] = {"organization_id": church, "ours": name}
    record_id = f"member-of-{one}"
    # The relay is held, so that the first tombstone still waits when the record is erased.
    async with app.state.runtime.engine.begin() as relays:
        await relays.execute(select(func.pg_advisory_xact_lock(_RELAY_LOCK)))
        await ada.tell(fact(ConflictDetected, 1, conflict_id=one, **values))
        # Decided and carried out, then in conflict again, and shown in a bulk answer beside another record.
        shown = await ada.call("GET", f"/{one}")
        decision = await ada.call(
            "POST",
            f"/{one}/decision",
            {"values_version": shown["values_version"], "choices": {"first_name": "ours"}},
            status=202,
        )
        applied = fact(ResolutionApplied, 2, conflict_id=one, **values)
        await ada.tell(applied.model_copy(update={"decision_id": decision["decision"]["id"]}))
        second = fact(ConflictDetected, 1, conflict_id=other, **values)
        second = second.model_copy(
            update={"record": second.record.model_copy(update={"id": record_id, "name": f"{name} Berg"})}
        )
        await ada.tell(second, fact(ConflictDetected, 1, organization_id=church, conflict_id=f"{other}-b", ours="Bert"))
        bulk = await ada.show("theirs")
        assert bulk["count"] == 2
        assert {"conflict.fields", "conflict.record", "decision.fields", "bulk.names"} <= await found(app, name)

        erased = RecordErased(
            organization_id=church,
            version=9,
            record_id=record_id,
            record_kind="member",
            erasure_id=str(uuid4()),
            erased_at=START,
        )
        await publish(kafka_server, erased, PEOPLE_SYNC)

        async def is_erased() -> bool:
            return await found(app, record_id) >= {"erased_record.record_id"}

        await eventually(is_erased)
    answers = await told(kafka_server, "conflicts.resolution.v1", "ConflictsErased", {record_id})
    (answer,) = [body for _, kind, body in answers if kind == "ConflictsErased"]
    assert (answer["conflicts"], answer["decisions"], answer["names"]) == (2, 1, 1)
    assert answer["erasure_id"] == erased.erasure_id
    assert await found(app, name) == set()
    # The topic of open conflicts gets a fact without a name, then a tombstone.
    messages = await told(kafka_server, "conflicts.conflict.v1", "tombstone", {one, other})
    assert [kind for key, kind, _ in messages if key == one][-1] == "tombstone"
    closed, tombstone = [(kind, body) for key, kind, body in messages if key == other][-2:]
    assert (closed[0], closed[1]["record"]["name"], tombstone[0]) == ("ConflictClosed", "", "tombstone")

    # Late facts, and a replayed dead letter.
    await ada.tell(second.model_copy(update={"version": 3}), fact(ConflictDetected, 7, conflict_id=one, **values))
    await ada.tell(
        fact(ConflictDetected, 1, conflict_id=f"{one}-late", **values).model_copy(update={"record": second.record})
    )
    assert await found(app, name) == set()
    await ada.call("GET", f"/{one}", status=404)
    await ada.call("GET", f"/{other}", status=404)
    # The bulk answer continues with the others.
    after = await ada.agree(bulk)
    assert (after["count"], after["skipped"]) == (2, 1)
    (skipped,) = (await ada.call("GET", f"/bulk/{bulk['id']}/skipped"))["items"]
    assert skipped["name"] == "Erased person"
