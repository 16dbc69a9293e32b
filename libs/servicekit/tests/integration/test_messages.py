"""Messages have their effect once; what cannot be taken is rejected once, and too much of it stops the group."""

import asyncio
import re
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import islice
from typing import Any

import httpx
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.partitioner import DefaultPartitioner
from fastapi import FastAPI
from sample_service.main import Resources, Settings, create_app
from sample_service.messages import effects, environment, fact, record
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from contracts.events.auth_connection_v1 import ConnectionAuthorized, ConnectionClosing
from contracts.topics import TOPICS, Provision, Topic
from servicekit.errors import TransientError
from servicekit.kafka.attempts import MOST_BEGUN
from servicekit.kafka.consumers import Consumers
from servicekit.kafka.inbox import set_aside
from servicekit.kafka.producer import Producer, Record
from servicekit.kafka.provision import provision
from servicekit.kafka.rejections import ATTEMPTS, MOST_WAITS
from servicekit.kafka.set_aside import SetAside, in_work
from servicekit.telemetry import METRICS
from servicekit.testing import Databases, KeyRing, Served, eventually, serve

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


async def dead_letters(bootstrap_servers: str, organization: str, *, all_of_it: bool = False) -> list[Any]:
    """What is in the dead-letter topic for an organization, or all that begin so, read to its present end."""
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
                found.extend(r for r in records if _is_of(r.key or b"", organization.encode(), all_of_it))
        return found
    finally:
        await consumer.stop()


def _is_of(key: bytes, organization: bytes, all_of_it: bool) -> bool:
    return key.startswith(organization) if all_of_it else key == organization


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


async def told(app: FastAPI, about: str) -> list[str]:
    """The causes that the service was told of dead letters about an organization's message, or `nobody`'s."""
    query = text("SELECT detail FROM effect WHERE starts_with(detail, :about) ORDER BY number")
    async with app.state.runtime.sessions() as session:
        details = await session.scalars(query, {"about": f"told of {about}"})
        return [detail.partition(": ")[2] for detail in details]


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
        "broken JSON": record(good, value=b'{"organization_id": '),
        "not the schema": record(good, value=b'{"organization_id": "x", "version": 0}'),
        "empty on a topic that is not compacted": record(good, value=b""),
        "no id": record(good, ce_id=""),
        "another CloudEvents": record(good, ce_specversion="0.3"),
        "another content type": record(good, content_type="application/xml"),
        "another one's fact": record(fact("somebody else"), key=organization),
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
    assert kinds == ["BadMessage"] * 2 + ["ValidationError"] * 2 + ["BadMessage"] * 5 + ["ValueError"]
    unread = await told(app, "nobody")
    assert (len(unread), len(set(unread))) == (9, 2), "the same cause has the same words"
    assert await told(app, organization) == ["Handling it failed unexpectedly (ValueError)."]


async def test_a_service_that_cannot_be_told_of_a_dead_letter_is_told_again(
    client: httpx.AsyncClient, app: FastAPI, producer: Producer, kafka_server: str, organization: str
) -> None:
    app.state.resources.deaf = [TransientError("not now"), ConnectionRefusedError()]
    await producer.send([record(fact(organization, 1, ConnectionClosing)), record(fact(organization, 2))])

    async def moved_on() -> bool:
        return await effects(app, organization) == [f"authorized {organization}:2"]

    await eventually(moved_on)
    assert app.state.resources.deaf == []
    assert len(await told(app, organization)) == 1
    assert len(await dead_letters(kafka_server, organization)) == 1
    app.state.resources.deaf = [KeyError("a defect")]
    await producer.send([record(fact(organization, 3, ConnectionClosing)), record(fact(organization, 4))])

    async def again() -> bool:
        return len(await effects(app, organization)) == 2

    await eventually(again, because="a defect of the teller holds nobody up")
    assert len(await told(app, organization)) == 1


async def test_a_message_that_fills_its_dead_letter_is_pointed_at(
    client: httpx.AsyncClient, app: FastAPI, producer: Producer, kafka_server: str, organization: str
) -> None:
    """With the headers of a dead letter it is larger than the broker takes. One without key and value, no producer
    sends at all."""
    huge = record(fact(organization), value=b"x" * 1_048_200)
    nothing = replace(record(fact(organization)), key=None, value=b"")
    await producer.send([huge, nothing, record(fact(organization, 2))])

    async def moved_on() -> bool:
        return await effects(app, organization) == [f"authorized {organization}:2"]

    await eventually(moved_on)
    (letter,) = await dead_letters(kafka_server, organization)
    names = dict(letter.headers)
    assert letter.value == b""
    assert (names["dlq_cut"], names["dlq_error"]) == (
        b"%d" % (len(huge.value or b"") + len(organization)),
        b"ValidationError",
    )
    assert names["ce_id"] == dict(huge.headers)["ce_id"]
    assert names["dlq_topic"] == TOPIC.encode()


async def test_a_dead_letter_topic_that_lacks_is_named_and_waited_for(
    app: FastAPI, producer: Producer, kafka_server: str, organization: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = f"{organization}.dlq"
    monkeypatch.setattr(Topic, "dead_letter", lambda *_: lacking)
    async with serve(app) as client:
        await producer.send([record(fact(organization, 1, ConnectionClosing)), record(fact(organization, 2))])

        async def says_so() -> bool:
            answer = await client.operators.get("/readyz")
            return answer.status_code == 503 and f"no such topic: {lacking}" in answer.text

        await eventually(says_so)
        await provision(kafka_server, [Provision(lacking, 1, 1)])

        async def moved_on() -> bool:
            return await effects(app, organization) == [f"authorized {organization}:2"]

        await eventually(moved_on)
        assert (await client.operators.get("/readyz")).status_code == 200


async def test_types_that_are_not_known_yet_are_set_aside_and_taken_after_the_upgrade(
    app: FastAPI, producer: Producer, kafka_server: str, organization: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = [record(fact(organization, n, ConnectionClosing if n == 25 else ConnectionAuthorized)) for n in range(1, 26)]
    unknown = [_of_type(one, "ConnectionExploded" if n < 24 else "ConnectionBuried") for n, one in enumerate(new)]
    async with serve(app) as client:
        await producer.send([*unknown, unknown[0], record(fact(organization, 30))])

        async def moved_on() -> bool:
            return await effects(app, organization) == [f"authorized {organization}:30"]

        await eventually(moved_on)
        assert (await client.operators.get("/readyz")).status_code == 200
        assert await lag(kafka_server) == 0
    assert await dead_letters(kafka_server, organization) == []

    types = TOPICS[TOPIC]._types
    monkeypatch.setitem(types, "ConnectionExploded", ConnectionAuthorized)
    async with serve(create_app(app.state.runtime.settings)) as client:

        async def taken() -> bool:
            return len(await effects(app, organization)) == 25

        async def told() -> bool:
            return f'servicekit_set_aside{{group="{GROUP}"}} 1.0' in (await client.operators.get("/metrics")).text

        await eventually(taken)
        await eventually(told)
    monkeypatch.setitem(types, "ConnectionBuried", ConnectionClosing)  # poison: never works
    async with serve(create_app(app.state.runtime.settings)):

        async def rejected() -> bool:
            return len(await dead_letters(kafka_server, organization)) == 1

        await eventually(rejected)
    assert len(await effects(app, organization)) == len(set(await effects(app, organization))) == 25
    async with app.state.runtime.sessions() as session:
        assert await session.scalar(text("SELECT count(*) FROM set_aside")) == 0


async def test_messages_unknown_for_a_month_are_dropped_and_logged(
    app: FastAPI, organization: str, caplog: pytest.LogCaptureFixture
) -> None:
    rows = (
        'INSERT INTO set_aside (consumer, event_id, type, topic, partition, "offset", headers, set_aside_at)'
        " SELECT consumer, :organization || days, 'ConnectionLost', :topic, 0, 0, '[]', now() - days * interval '1 day'"
        " FROM (VALUES (:group, 32), ('people-sync.former', 31), (:group, 29)) AS waiting (consumer, days)"
    )
    values = {"organization": organization, "topic": TOPIC, "group": GROUP}

    async def left() -> list[str]:
        async with app.state.runtime.sessions() as session:
            return list(await session.scalars(text("SELECT event_id FROM set_aside")))

    async with app.state.runtime.sessions.begin() as session:
        await session.execute(text(rows), values)
    async with serve(create_app(app.state.runtime.settings)) as client:

        async def told() -> bool:
            return "messages wait for a version that knows their type" in caplog.text

        await eventually(told)
        assert await left() == [f"{organization}29"]
        metrics = (await client.operators.get("/metrics")).text
        assert f'servicekit_set_aside{{group="{GROUP}"}} 1.0' in metrics
        (age,) = re.findall(rf'servicekit_set_aside_age_seconds{{group="{GROUP}"}} (\S+)', metrics)
        assert 29 <= float(age) / 86_400 < 30
    for group in (GROUP, "people-sync.former"):
        assert f"consumer='{group}' topic='{TOPIC}' type='ConnectionLost' messages=1" in caplog.text
    async with app.state.runtime.sessions.begin() as session:
        await session.execute(text("DELETE FROM set_aside"))


async def test_a_message_in_work_at_another_replica_is_not_counted(
    app: FastAPI, kafka_server: str, organization: str
) -> None:
    runtime, own, subscribers = app.state.runtime, Resources(app.state.runtime.settings), app.state.subscribers
    one = record(fact(organization, 1))
    headers = {name: (value or b"").decode() for name, value in one.headers}
    taken = ConsumerRecord(TOPIC, 0, 7, 0, 0, one.key, one.value, None, 0, 0, tuple(one.headers))
    async with runtime.sessions.begin() as session:
        await set_aside(session, taken, consumer=GROUP, event_id=headers["ce_id"], event_type=headers["ce_type"])
        (row_id,) = await session.scalars(text("SELECT id FROM set_aside"))
    replica = SetAside(runtime, own, subscribers, Consumers(runtime, own, subscribers).guards)
    async with runtime.sessions.begin() as session:
        await session.execute(in_work(row_id))
        for _ in range(MOST_BEGUN + 1):
            await replica.step()
    assert await effects(app, organization) == []
    await replica.step()
    assert await effects(app, organization) == [f"authorized {organization}:1"]
    assert await dead_letters(kafka_server, organization) == []


def _of_type(one: Record, name: str) -> Record:
    return replace(one, headers=[(key, name.encode() if key == "ce_type" else value) for key, value in one.headers])


async def test_a_type_that_the_service_does_not_handle_is_skipped(
    client: httpx.AsyncClient, app: FastAPI, producer: Producer, kafka_server: str, organization: str
) -> None:
    from contracts.events.auth_connection_v1 import ConnectionRevoked  # noqa: PLC0415

    await producer.send([record(fact(organization, 1, ConnectionRevoked)), record(fact(organization, 2))])

    async def arrived() -> bool:
        return await effects(app, organization) == [f"authorized {organization}:2"]

    await eventually(arrived)
    assert await dead_letters(kafka_server, organization) == []


async def test_a_transient_failure_is_retried_and_a_permanent_one_rejected(
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
    monkeypatch.setattr("servicekit.kafka.rejections.OUTAGE_DELAY_SECONDS", 0.01)
    monkeypatch.setattr("servicekit.kafka.rejections.FIRST_DELAY_SECONDS", 0.001)
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


async def test_a_table_that_is_locked_for_long_rejects_nothing(
    databases: Databases,
    keys: KeyRing,
    producer: Producer,
    kafka_server: str,
    organization: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A migration that holds a table past the lock timeout, again and again."""
    monkeypatch.setattr("servicekit.kafka.rejections.OUTAGE_DELAY_SECONDS", 0.01)
    url = await databases.create("sample_service")
    app = create_app(
        keys.settings(Settings, database_url=url, kafka=kafka_server, database_idle_in_transaction_seconds=0.1)
    )
    waited = METRICS.messages_total.labels(GROUP, TOPIC, "waited")
    engine = create_async_engine(url)
    async with serve(app) as client, engine.connect() as connection:
        await connection.execute(text("LOCK TABLE effect IN ACCESS EXCLUSIVE MODE"))
        before = waited._value.get()
        await producer.send([record(fact(organization, 1))])
        await eventually(lambda: waited._value.get() > before + MOST_WAITS + ATTEMPTS)
        monkeypatch.setattr("servicekit.kafka.consumers.WAIT_SECONDS", 0.0)
        assert "has waited at a message" in (await client.operators.get("/readyz")).text
        await connection.rollback()

        async def arrived() -> bool:
            return await effects(app, organization) == [f"authorized {organization}:1"]

        await eventually(arrived)
    await engine.dispose()
    assert await dead_letters(kafka_server, organization) == []


async def test_a_handler_that_hangs_is_ended_and_its_message_rejected(
    client: httpx.AsyncClient,
    app: FastAPI,
    producer: Producer,
    kafka_server: str,
    organization: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("servicekit.kafka.rejections.HANDLER_SECONDS", 0.2)
    await producer.send([record(fact(organization, 1, name="hangs")), record(fact(organization, 2))])

    async def moved_on() -> bool:
        return await effects(app, organization) == [f"authorized {organization}:2"]

    await eventually(moved_on)
    (message,) = await dead_letters(kafka_server, organization)
    names = dict(message.headers)
    assert (names["dlq_error"], names["dlq_attempts"]) == (b"HandlerTimedOut", b"3")
    assert await told(app, organization) == ["Handling it did not end in time, several times."]
    assert app.state.resources.hung == 3
    async with app.state.runtime.sessions() as session:
        assert await session.scalar(text("SELECT count(*) FROM message_attempt WHERE attempts > 0")) == 0


async def test_a_message_that_hangs_holds_its_own_key_alone(
    app: FastAPI, producer: Producer, kafka_server: str, organization: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("servicekit.kafka.reader.STOP_SECONDS", 0.1)
    others = beside(organization, 5)
    async with serve(app):
        await producer.send([record(fact(organization, 1, name="hangs")), record(fact(organization, 2))])
        await producer.send([record(fact(other, version)) for version in (1, 2) for other in others])

        async def all_others() -> bool:
            return all([len(await effects(app, other)) == 2 for other in others])

        await eventually(all_others)
        assert app.state.resources.hung == 1
        assert await effects(app, f"{organization}") == []
    assert await lag(kafka_server) >= 12, "nothing behind it is committed"
    monkeypatch.setattr("servicekit.kafka.rejections.HANDLER_SECONDS", 0.2)
    app = create_app(app.state.runtime.settings)
    async with serve(app):

        async def through() -> bool:
            return await lag(kafka_server) == 0

        await eventually(through, because="all come again, and the others have no second effect")
    for name in others:
        assert await effects(app, name) == [f"authorized {name}:{version}" for version in (1, 2)]
    assert await effects(app, organization) == [f"authorized {organization}:2"]


def beside(organization: str, count: int) -> list[str]:
    """Organizations whose messages are in the same partition."""
    partitions = list(range(TOPICS[TOPIC].partitions))

    def partition(key: str) -> int:
        return int(DefaultPartitioner()(key.encode(), partitions, partitions))

    names = (f"other-{uuid.uuid4().hex[:8]}" for _ in range(10_000))
    return list(islice((name for name in names if partition(name) == partition(organization)), count))


async def test_order_under_load_while_replicas_come_and_go(
    client: httpx.AsyncClient, app: FastAPI, producer: Producer, organization: str
) -> None:
    names, versions = [f"{organization}-{n:02}" for n in range(15)], range(1, 31)
    replica = create_app(app.state.runtime.settings)
    async with serve(replica):
        await producer.send([record(fact(name, version)) for version in versions for name in names])
    await producer.send([record(fact(name, 31)) for name in names])

    async def all_there() -> bool:
        return len(await effects(app, organization)) >= 31 * len(names)

    await eventually(all_there)
    for name in names:
        assert await effects(app, name) == [f"authorized {name}:{version}" for version in range(1, 32)]


async def test_a_message_that_kills_the_process_is_rejected_in_the_end(
    databases: Databases, producer: Producer, keys: KeyRing, kafka_server: str, organization: str
) -> None:
    """A real process dies at it amid others of its partition, and the next ones too; these are told by the row, for a
    group waits 10 s for a member that has died."""
    url = await databases.create("sample_service")
    app = create_app(keys.settings(Settings, database_url=url, kafka=kafka_server))
    others = beside(organization, 12)
    await producer.send([record(fact(organization, 1, name="kills")), record(fact(organization, 2))])
    await producer.send([record(fact(other)) for other in others])
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sample_service", env=environment(url, kafka_server, keys)
    )
    assert await asyncio.wait_for(child.wait(), 60) == -signal.SIGKILL
    async with app.state.runtime.sessions.begin() as session:
        rows = await session.execute(text(f"UPDATE message_attempt SET attempts = {MOST_BEGUN} RETURNING partition"))
        assert len(rows.all()) == 1, "whoever comes next knows that a process died"
    async with serve(app):

        async def moved_on() -> bool:
            taken = [await effects(app, other) for other in [organization, *others]]
            return taken == [[f"authorized {organization}:2"], *([f"authorized {other}:1"] for other in others)]

        await eventually(moved_on)
    (message,) = await dead_letters(kafka_server, organization)
    assert dict(message.headers)["dlq_error"] == b"ProcessDied"
    assert await told(app, organization) == ["The process that handled it ended unexpectedly, several times."]
    assert [await dead_letters(kafka_server, other) for other in others] == [[]] * len(others)


async def test_a_group_that_rejects_too_much_stops(
    app: FastAPI, producer: Producer, kafka_server: str, organization: str
) -> None:
    async with serve(app) as client:
        await producer.send([record(fact(f"{organization}-{n}", 1, ConnectionClosing)) for n in range(30)])

        async def stopped() -> bool:
            answer = await client.operators.get("/readyz")
            return answer.status_code == 503 and "too many messages rejected" in answer.text

        await eventually(stopped)
        assert (await client.get("/livez")).status_code == 200, "a restart would not help"
        assert f'servicekit_consumer_stopped{{group="{GROUP}"}} 1.0' in (await client.operators.get("/metrics")).text

        async def consumer_is_gone() -> bool:
            return await lag(kafka_server) >= 10

        await eventually(consumer_is_gone)
    assert len(await dead_letters(kafka_server, organization, all_of_it=True)) == 20, "the rest stays in the topic"
    async with serve(create_app(app.state.runtime.settings)):  # mended and restarted: it goes on where it stopped

        async def caught_up() -> bool:
            return await lag(kafka_server) == 0

        await eventually(caught_up)
    assert len(await dead_letters(kafka_server, organization, all_of_it=True)) == 30


async def test_one_church_stops_no_other(
    client: Served, producer: Producer, app: FastAPI, kafka_server: str, organization: str
) -> None:
    await producer.send([record(fact(organization, n + 1, ConnectionClosing)) for n in range(60)])
    await producer.send([record(fact(f"{organization}-good", 1))])

    async def taken() -> bool:
        good = await effects(app, f"{organization}-good")
        return bool(good) and len(await dead_letters(kafka_server, organization)) == 60

    await eventually(taken)
    assert (await client.operators.get("/readyz")).status_code == 200
