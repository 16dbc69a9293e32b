"""PostgreSQL or Kafka is killed under a running service: it says so, loses nothing, and recovers by itself."""

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from fastapi import FastAPI
from sample_service.main import Settings, create_app
from sample_service.messages import TOPIC, effects, fact, record
from sqlalchemy import text

from servicekit.http.health import NotReady
from servicekit.kafka import consumers
from servicekit.kafka.consumers import Consumers, ConsumerStalled
from servicekit.kafka.producer import Producer
from servicekit.kafka.provision import provision
from servicekit.local import LocalKafka, LocalPostgres
from servicekit.telemetry import METRICS
from servicekit.testing import Databases, KeyRing, Served, eventually, serve

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.broker_faults, pytest.mark.timeout(240)]


async def is_ready(client: Served) -> bool:
    answer = await client.operators.get("/readyz")
    assert answer.status_code == 200, answer.text
    return True


async def not_ready(client: Served, probe: str) -> bool:
    answer = await client.operators.get("/readyz")
    return bool(answer.status_code == 503 and probe in answer.json()["failing"])


async def outbox_is_empty(app: FastAPI) -> bool:
    async with app.state.runtime.sessions() as session:
        return bool(await session.scalar(text("SELECT count(*) = 0 FROM outbox")))


async def test_postgresql_away(own_postgres: LocalPostgres, kafka_server: str, keys: KeyRing) -> None:
    url = await Databases(own_postgres.url()).create("sample_service")
    app = create_app(keys.settings(Settings, database_url=url, kafka=kafka_server))
    producer = Producer(kafka_server, client_id="test")
    headers = keys.user_headers("people-sync", organization_id="pg-away")
    async with serve(app) as client:
        assert (await client.put("/notes/1", json={"text": "a"}, headers=headers)).status_code == 200
        await asyncio.to_thread(own_postgres.kill)
        answer = await client.put("/notes/2", json={"text": "a"}, headers=headers)
        assert answer.status_code == 503, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert int(answer.headers["Retry-After"]) > 0
        await eventually(lambda: not_ready(client, "postgres"))
        await producer.send([record(fact("pg-away", n)) for n in (1, 2, 3)])  # arrive while the database is away
        await eventually(lambda: _waits(client))
        assert (await client.get("/livez")).status_code == 200, "a restart would not help"
        await asyncio.to_thread(own_postgres.start)
        await eventually(lambda: is_ready(client))
        assert (await client.put("/notes/2", json={"text": "a"}, headers=headers)).status_code == 200

        async def all_arrived() -> bool:
            return await effects(app, "pg-away") == [f"authorized pg-away:{n}" for n in (1, 2, 3)]

        await eventually(all_arrived, because="messages waited; none was rejected")
        await eventually(lambda: outbox_is_empty(app))
        job = (await client.post("/runs", headers=headers)).json()

        async def done() -> bool:
            async with app.state.runtime.sessions() as session:
                return bool(await session.scalar(text("SELECT state = 'done' FROM job WHERE id::text = :id"), job))

        await eventually(done)
    await producer.close()


async def _waits(client: Served) -> bool:
    line = 'servicekit_messages_total{group="people-sync.connections",outcome="waited",topic="auth.connection.v1"}'
    return line in (await client.operators.get("/metrics")).text


async def test_kafka_away(own_kafka: LocalKafka, databases: Databases, keys: KeyRing) -> None:
    url = await databases.create("sample_service")
    app = create_app(keys.settings(Settings, database_url=url, kafka=own_kafka.bootstrap_servers))
    headers = keys.user_headers("people-sync", organization_id="kafka-away")
    async with serve(app) as client:
        await asyncio.to_thread(own_kafka.kill)
        for number in range(5):  # what users do goes on; events wait in the outbox
            answer = await client.put(f"/notes/{number}", json={"text": "a"}, headers=headers)
            assert answer.status_code == 200
        await eventually(lambda: not_ready(client, "kafka"))
        assert (await client.get("/livez")).status_code == 200
        assert not await outbox_is_empty(app)
        await asyncio.to_thread(own_kafka.start)
        await eventually(lambda: is_ready(client), within=90)
        await eventually(lambda: outbox_is_empty(app))
        producer = Producer(own_kafka.bootstrap_servers, client_id="test")
        await producer.send([record(fact("kafka-away", n)) for n in (1, 2)])

        async def arrived() -> bool:
            return await effects(app, "kafka-away") == [f"authorized kafka-away:{n}" for n in (1, 2)]

        await eventually(arrived, within=90, because="the consumers are back")
        await producer.close()


async def test_consumers_stopped_while_kafka_is_away_have_ended(
    own_kafka: LocalKafka, databases: Databases, keys: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stalled consumers are replaced. One that goes on would keep partitions of its group that nobody polls."""
    url = await databases.create("sample_service")
    app = create_app(keys.settings(Settings, database_url=url, kafka=own_kafka.bootstrap_servers))
    (one,) = app.state.subscribers
    groups = [f"people-sync.part-{number}" for number in range(12)]
    many = Consumers(app.state.runtime, None, [replace(one, group=group) for group in groups])
    running = asyncio.create_task(many.run())
    await eventually(lambda: _consume(many), within=90)
    monkeypatch.setattr(consumers, "IDLE_SECONDS", 0.0)
    monkeypatch.setattr(consumers, "STALLED_SECONDS", 5.0)
    await asyncio.to_thread(own_kafka.kill)
    with pytest.raises(ConsumerStalled):
        await running
    await asyncio.sleep(0)
    coroutines = [cast("Any", task.get_coro()) for task in asyncio.all_tasks()]
    left = [one for one in coroutines if "aiokafka" in one.cr_code.co_filename]
    assert left == []
    await app.state.runtime.engine.dispose()


async def _consume(group: Consumers) -> bool:
    try:
        await group.check()
    except NotReady:
        return False
    return True


async def test_the_service_starts_with_everything_away(
    own_postgres: LocalPostgres, own_kafka: LocalKafka, keys: KeyRing
) -> None:
    url = await Databases(own_postgres.url()).create("sample_service")
    app = create_app(keys.settings(Settings, database_url=url, kafka=own_kafka.bootstrap_servers))
    await asyncio.to_thread(own_postgres.kill)
    await asyncio.to_thread(own_kafka.kill)
    async with serve(app, ready=False) as client:
        assert (await client.get("/livez")).status_code == 200
        assert set((await client.operators.get("/readyz")).json()["failing"]) == {"postgres", "kafka", "subscribers"}
        await asyncio.to_thread(own_postgres.start)
        await asyncio.to_thread(own_kafka.start)
        await eventually(lambda: is_ready(client), within=90)


async def test_losses_by_retention_are_reported_and_a_recreated_topic_is_read(
    databases: Databases, own_kafka: LocalKafka, keys: KeyRing, caplog: pytest.LogCaptureFixture
) -> None:
    """Of 12 partitions one loses facts that the group had not taken, and later the whole topic goes."""
    bootstrap_servers = own_kafka.bootstrap_servers
    url = await databases.create("sample_service")
    settings = keys.settings(Settings, database_url=url, kafka=bootstrap_servers)
    app = create_app(settings)
    producer = Producer(bootstrap_servers, client_id="test")
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()

    async def have(count: int) -> bool:
        return len(await effects(app, "gone")) == count

    await producer.send([record(fact("gone", n)) for n in (1, 2, 3)])
    async with serve(app):
        await eventually(lambda: have(3))
    await producer.send([record(fact("gone", n)) for n in range(4, 11)])
    ends = await _ends(bootstrap_servers)
    (partition,) = (number for number, end in ends.items() if end == 10)
    await admin.delete_records({TopicPartition(TOPIC, partition): RecordsToDelete(before_offset=8)})
    app = create_app(settings)
    lost = METRICS.messages_lost_total.labels("people-sync.connections", TOPIC)
    before = lost._value.get()
    async with serve(app) as client:
        await eventually(lambda: have(5), because="two facts were left")
        assert lost._value.get() - before == 5
        assert "position=3 first=8 after_loss='python -m auth_service republish'" in caplog.text
        await admin.delete_topics([TOPIC])
        await eventually(lambda: _gone(admin))
        await provision(bootstrap_servers)
        await producer.close()
        await producer.send([record(fact("gone", 11))])
        await eventually(lambda: have(6), within=30, because="the topic is noticed before the consumer is given up")
        await is_ready(client)
    await admin.close()
    await producer.close()


async def _ends(bootstrap_servers: str) -> dict[int, int]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers)
    await consumer.start()
    try:
        ends = await consumer.end_offsets([TopicPartition(TOPIC, number) for number in range(12)])
        return {partition.partition: end for partition, end in ends.items()}
    finally:
        await consumer.stop()


async def _gone(admin: AIOKafkaAdminClient) -> bool:
    return TOPIC not in await admin.list_topics()
