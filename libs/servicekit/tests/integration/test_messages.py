"""Messages have their effect once; what cannot be taken is rejected once, and too much of it stops the group."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from fastapi import FastAPI
from sample_service.messages import effects, fact, record

from contracts.events.auth_connection_v1 import ConnectionClosing
from servicekit.errors import TransientError
from servicekit.producer import Producer
from servicekit.testing import Served, eventually, serve

pytestmark = pytest.mark.asyncio(loop_scope="session")
TOPIC = "auth.connection.v1"
GROUP = "people-sync.connections"
DEAD_LETTERS = f"{TOPIC}.people-sync.dlq"


@pytest.fixture
def organization() -> str:
    return f"org-{uuid.uuid4().hex[:8]}"


@pytest_asyncio.fixture(loop_scope="session")
async def producer(kafka_server: str) -> AsyncIterator[Producer]:
    made = Producer(kafka_server, client_id="test")
    yield made
    await made.close()


async def dead_letters(bootstrap_servers: str, organization: str) -> list[Any]:
    """What is in the dead-letter topic for an organization, read to its present end."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers)
    await consumer.start()
    try:
        partition = TopicPartition(DEAD_LETTERS, 0)
        consumer.assign([partition])
        await consumer.seek_to_beginning()
        end = (await consumer.end_offsets([partition]))[partition]
        found: list[Any] = []
        while await consumer.position(partition) < end:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found.extend(r for r in records if r.key == organization.encode())
        return found
    finally:
        await consumer.stop()


async def lag(bootstrap_servers: str) -> int:
    """Messages of the topic that the group has not committed."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers)
    await admin.start()
    await consumer.start()
    try:
        committed = await admin.list_consumer_group_offsets(GROUP)
        ends = await consumer.end_offsets([TopicPartition(TOPIC, number) for number in range(12)])
        return sum(end - max(committed[p].offset if p in committed else 0, 0) for p, end in ends.items())
    finally:
        await consumer.stop()
        await admin.close()


async def alone(bootstrap_servers: str) -> bool:
    """Whether the group has one member, with partitions."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        [answer] = await admin.describe_consumer_groups([GROUP])
        _, _, state, _, _, members, *_ = answer.groups[0]
        return state == "Stable" and len(members) == 1
    finally:
        await admin.close()


async def test_a_message_that_comes_twice_has_one_effect(
    client: httpx.AsyncClient, app: FastAPI, producer: Producer, organization: str
) -> None:
    first, second = record(fact(organization, 1)), record(fact(organization, 2))
    await producer.send([first, first, second, first, second])
    await producer.send([first, record(fact(organization, 3))])
    expected = [f"authorized {organization}:{version}" for version in (1, 2, 3)]

    async def arrived() -> bool:
        return await effects(app, organization) == expected

    await eventually(arrived)


async def test_two_replicas_share_the_work(
    client: httpx.AsyncClient, app: FastAPI, producer: Producer, organization: str
) -> None:
    from sample_service.main import create_app  # noqa: PLC0415

    replica = create_app(app.state.runtime.settings)
    async with serve(replica):
        await producer.send([record(fact(f"{organization}-{n}", 1)) for n in range(60)])

        async def all_once() -> bool:
            found = await effects(app, organization)
            return len(found) == len(set(found)) == 60

        await eventually(all_once)


async def test_a_replica_that_comes_or_goes_makes_the_others_unready_at_no_moment(
    client: Served, app: FastAPI, kafka_server: str
) -> None:
    from sample_service.main import create_app  # noqa: PLC0415

    answers: list[httpx.Response] = []

    async def watch() -> None:
        while True:
            answers.append(await client.operators.get("/readyz"))

    async with asyncio.TaskGroup() as group:
        watching = group.create_task(watch())
        async with serve(create_app(app.state.runtime.settings)):
            pass
        await eventually(lambda: alone(kafka_server))
        watching.cancel()
    assert answers
    assert [answer.text for answer in answers if answer.status_code != 200] == []


async def test_each_bad_message_is_rejected_once_and_the_group_moves_on(
    client: httpx.AsyncClient, app: FastAPI, producer: Producer, kafka_server: str, organization: str
) -> None:
    good = fact(organization)
    bad = {
        "null header": record(good, ("x-null", None)),
        "undecodable header": record(good, ("x-bytes", b"\xff\xfe")),
        "unknown type": record(good, ce_type="ConnectionExploded"),
        "broken JSON": record(good, value=b'{"organization_id": '),
        "not the schema": record(good, value=b'{"organization_id": "x", "version": 0}'),
        "empty on a topic that is not compacted": record(good, value=b""),
        "no id": record(good, ce_id=""),
        "poison": record(fact(organization, 1, ConnectionClosing)),
    }
    await producer.send([*bad.values(), record(fact(organization, 9))])

    async def moved_on() -> bool:
        return await effects(app, organization) == [f"authorized {organization}:9"]

    await eventually(moved_on, because="the poison's own effect is rolled back, the next message is taken")

    async def committed() -> bool:
        return await lag(kafka_server) == 0

    await eventually(committed)
    rejected = await dead_letters(kafka_server, organization)
    assert [r.value or b"" for r in rejected] == [b.value or b"" for b in bad.values()], "byte for byte, in order, once"
    for message, original, name in zip(rejected, bad.values(), bad, strict=True):
        assert list(message.headers)[: len(original.headers)] == list(original.headers), name
        added = {key: value.decode() for key, value in message.headers[len(original.headers) :]}
        assert added["dlq_topic"] == TOPIC
        assert added["dlq_group"] == GROUP
        assert added["dlq_attempts"] == "1"
        assert int(added["dlq_partition"]) >= 0
        assert int(added["dlq_offset"]) >= 0
        assert "Grace" not in str(added), "no text of an error in headers"
    kinds = [dict(message.headers)["dlq_error"].decode() for message in rejected]
    assert kinds == ["BadMessage"] * 3 + ["ValidationError"] * 2 + ["BadMessage"] * 2 + ["ValueError"]


async def test_a_type_that_the_service_does_not_handle_is_skipped(
    client: httpx.AsyncClient, app: FastAPI, producer: Producer, kafka_server: str, organization: str
) -> None:
    from contracts.events.auth_connection_v1 import ConnectionRevoked  # noqa: PLC0415

    await producer.send([record(fact(organization, 1, ConnectionRevoked)), record(fact(organization, 2))])

    async def arrived() -> bool:
        return await effects(app, organization) == [f"authorized {organization}:2"]

    await eventually(arrived)
    assert await dead_letters(kafka_server, organization) == []


async def test_a_passing_failure_is_retried_and_a_lasting_one_rejected(
    client: httpx.AsyncClient, app: FastAPI, producer: Producer, kafka_server: str, organization: str
) -> None:
    app.state.resources.failures.extend(TransientError("again") for _ in range(3))
    await producer.send([record(fact(organization, 1))])

    async def arrived() -> bool:
        return await effects(app, organization) == [f"authorized {organization}:1"]

    await eventually(arrived)
    assert await dead_letters(kafka_server, organization) == []

    app.state.resources.failures.extend(TransientError("again") for _ in range(5))
    await producer.send([record(fact(organization, 2))])

    async def rejected() -> Any:
        return await dead_letters(kafka_server, organization)

    (message,) = await eventually(rejected)
    assert dict(message.headers)["dlq_attempts"] == b"5"


async def test_an_outage_is_waited_for_and_rejects_nothing(
    client: httpx.AsyncClient, app: FastAPI, producer: Producer, kafka_server: str, organization: str
) -> None:
    app.state.resources.failures.extend(ConnectionRefusedError("a peer is away") for _ in range(7))
    await producer.send([record(fact(organization, 1))])

    async def arrived() -> bool:
        return await effects(app, organization) == [f"authorized {organization}:1"]

    await eventually(arrived)
    assert await dead_letters(kafka_server, organization) == []


async def test_an_outage_of_our_own_making_is_waited_for_a_few_times(
    client: httpx.AsyncClient,
    app: FastAPI,
    producer: Producer,
    organization: str,
    kafka_server: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A time limit of ours passes every time, and PostgreSQL is there all the while."""
    monkeypatch.setattr("servicekit.dead_letter.OUTAGE_DELAY_SECONDS", 0.01)
    monkeypatch.setattr("servicekit.dead_letter.FIRST_DELAY_SECONDS", 0.001)
    failures = app.state.resources.failures
    failures.extend(TimeoutError() for _ in range(200))
    await producer.send([record(fact(organization, 1))])

    async def rejected() -> bool:
        return len(await dead_letters(kafka_server, organization)) == 1

    await eventually(rejected)
    failures.clear()
    await producer.send([record(fact(organization, 2))])

    async def goes_on() -> bool:
        return await effects(app, organization) == [f"authorized {organization}:2"]

    await eventually(goes_on)


async def test_a_group_that_rejects_too_much_stops(
    app: FastAPI, producer: Producer, kafka_server: str, organization: str
) -> None:
    from sample_service.main import create_app  # noqa: PLC0415

    async with serve(app) as client:
        await producer.send([record(fact(organization, n + 1, ConnectionClosing)) for n in range(30)])

        async def stopped() -> bool:
            answer = await client.operators.get("/readyz")
            return answer.status_code == 503 and "too many messages rejected" in answer.text

        await eventually(stopped)
        assert (await client.get("/livez")).status_code == 200, "a restart would not help"
        assert f'servicekit_consumer_stopped{{group="{GROUP}"}} 1.0' in (await client.operators.get("/metrics")).text

        async def consumer_is_gone() -> bool:
            return await lag(kafka_server) == 10

        await eventually(consumer_is_gone)
    assert len(await dead_letters(kafka_server, organization)) == 20, "the rest stays in the topic"
    async with serve(create_app(app.state.runtime.settings)):  # mended and restarted: it goes on where it stopped

        async def caught_up() -> bool:
            return await lag(kafka_server) == 0

        await eventually(caught_up)
    assert len(await dead_letters(kafka_server, organization)) == 30
