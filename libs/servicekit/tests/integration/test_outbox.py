"""The outbox keeps the order of commits per key and loses nothing, whatever dies on the way."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from sample_service.main import note_event
from sample_service.messages import fact
from sqlalchemy import event, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.topics import Provision
from servicekit.context import flow
from servicekit.db.notify import Listener, Wake
from servicekit.db.sessions import Sessions
from servicekit.db.tables import OUTBOX
from servicekit.http.health import NotReady
from servicekit.kafka.outbox import CHANNEL, Relay, append, append_all, transactional_id_of
from servicekit.kafka.producer import KafkaUnavailable, Producer, Record
from servicekit.kafka.provision import provision
from servicekit.telemetry import METRICS
from servicekit.testing import eventually, statements
from servicekit.testing.time import PATIENCE_SECONDS

pytestmark = pytest.mark.asyncio(loop_scope="session")
TOPIC = "webhooks.outcome.v1"


class CrashingProducer(Producer):
    """Dies before, in the middle of, or after sending: what a crash of the process leaves behind."""

    def __init__(self, bootstrap_servers: str, url: str, chance: float, seed: int) -> None:
        super().__init__(
            bootstrap_servers, client_id="crashing", transactional_id=transactional_id_of("people-sync", url)
        )
        self._chance = chance
        self._random = random.Random(seed)
        self.crashes = 0

    async def send(self, records: Sequence[Record]) -> None:
        if self._random.random() > self._chance:
            await super().send(records)
            return
        self.crashes += 1
        if sent := records[: self._random.randint(0, len(records))]:
            await super().send(sent)
        raise KafkaUnavailable("injected")


async def read(bootstrap_servers: str, organization_id: str, count: int) -> list[Any]:
    """All messages of an organization, once at least `count` different ones are there."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, isolation_level="read_committed")
    await consumer.start()
    try:
        partitions = [TopicPartition(TOPIC, number) for number in range(12)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning()
        found: list[Any] = []

        async def enough() -> bool:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found.extend(r for r in records if r.value and organization_id.encode() in r.value)
            return len({dict(r.headers)["ce_id"] for r in found}) >= count

        await eventually(enough)
        return found
    finally:
        await consumer.stop()


async def test_order_per_key_under_concurrent_writers_two_relays_and_crashes(
    url: str, engine: AsyncEngine, sessions: Sessions, kafka_server: str
) -> None:
    keys, writers, rounds = [f"ordered-{n}" for n in range(5)], 8, 10
    await _counters(engine, keys)

    async def write(seed: int) -> None:
        choose = random.Random(seed)
        for _ in range(rounds):
            async with sessions.begin() as session:
                chosen = sorted(choose.sample(keys, choose.randint(1, 3)))
                events = []
                for key in chosen:  # the aggregate's row first: its version is the order that must be kept
                    version = await session.scalar(
                        text("UPDATE note SET version = version + 1 WHERE id = :key RETURNING version"), {"key": key}
                    )
                    events.append(note_event("org-ordered", key, version))
                choose.shuffle(events)
                await append_all(session, events)
                await asyncio.sleep(choose.random() / 200)

    producers = [CrashingProducer(kafka_server, url, 0.3, seed) for seed in (1, 2)]
    relays = [Relay(engine, producer, Wake(), batch=7, poll_seconds=0.02) for producer in producers]

    async def relay(one: Relay) -> None:
        while True:
            try:
                await one.step()
            except KafkaUnavailable:
                await asyncio.sleep(0)

    tasks = [asyncio.create_task(relay(one)) for one in relays]
    try:
        await asyncio.gather(*(write(seed) for seed in range(writers)))
        async with engine.connect() as connection:
            written = {
                row.id: row.version - 1
                for row in await connection.execute(text("SELECT id, version FROM note WHERE id LIKE 'ordered-%'"))
            }
        await eventually(lambda: _is_empty(engine))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for producer in producers:
            await producer.close()

    # Two relays settle on one, which may have carried everything.
    assert any(producer.crashes for producer in producers)
    messages = await read(kafka_server, "org-ordered", sum(written.values()))
    seen: dict[str, list[int]] = defaultdict(list)
    ids: set[bytes] = set()
    repeats = 0
    for message in messages:  # partitions may interleave; per key the order of the log is kept
        identity = dict(message.headers)["ce_id"]
        if identity in ids:
            repeats += 1
            continue
        ids.add(identity)
        seen[message.key.decode()].append(_version(message))
    assert {key: len(versions) for key, versions in seen.items()} == written
    for key, versions in seen.items():
        assert versions == list(range(2, written[key] + 2)), key
    assert repeats > 0, "no crash repeated anything: the test proves nothing"


async def test_a_topic_that_lacks_holds_up_its_own_events_alone(
    url: str, engine: AsyncEngine, sessions: Sessions, kafka_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = f"lacking.{uuid4().hex}"
    relay = Relay(engine, relaying(kafka_server, url), Wake())
    async with sessions.begin() as session:
        await append_all(session, [note_event("org-lacking", "to nowhere", n) for n in (1, 2, 3)])
        await session.execute(update(OUTBOX).values(topic=lacking))
        await append_all(session, [note_event("org-lacking", "to somewhere", 7)])
    assert [await relay.relay_batch() for _ in range(3)] == [0, 1, 0]
    assert len(await read(kafka_server, "org-lacking", 1)) == 1
    await relay.check()
    monkeypatch.setattr("servicekit.kafka.outbox.STALE_SECONDS", 0.0)
    with pytest.raises(NotReady, match=f"published to {lacking}, which Kafka does not have"):
        await relay.check()
    assert METRICS.outbox_age_seconds._value.get() > 0
    await provision(kafka_server, [Provision(lacking, 1, 1)])
    relay._missing_until = 0.0
    assert await relay.relay_batch() == 3
    await relay.check()
    await relay._producer.close()


class FrozenProducer(Producer):
    """Belongs to a process that is frozen at some instant, with a batch in its hands, and thaws."""

    def __init__(self, bootstrap_servers: str, transactional_id: str, *, frozen: str) -> None:
        super().__init__(bootstrap_servers, client_id="frozen", transactional_id=transactional_id)
        self._frozen_when = frozen
        self.frozen = asyncio.Event()
        self.thawed = asyncio.Event()

    async def begin(self) -> None:
        await self._freeze("it begins")
        await super().begin()

    async def send(self, records: Sequence[Record]) -> None:
        await self._freeze("it sends")
        await super().send(records)

    async def _send(self, producer: AIOKafkaProducer, records: Sequence[Record]) -> None:
        await super()._send(producer, records)
        await self._freeze("it commits")

    async def _freeze(self, when: str) -> None:
        if self._frozen_when == when:
            self.frozen.set()
            await self.thawed.wait()


@pytest.mark.parametrize("frozen", ["it begins", "it sends", "it commits"])
async def test_a_thawed_relay_brings_back_nothing_old(
    url: str, engine: AsyncEngine, sessions: Sessions, kafka_server: str, frozen: str
) -> None:
    organization = f"org-{frozen.replace(' ', '-')}"
    key = f"key of {organization}"
    await _counters(engine, [key])
    thawed = FrozenProducer(kafka_server, transactional_id_of("people-sync", url), frozen=frozen)
    other = relaying(kafka_server, url)
    successor = Relay(engine, other, Wake())
    await _publish(sessions, organization, key, 1)
    stale = asyncio.create_task(Relay(engine, thawed, Wake()).relay_batch())
    await thawed.frozen.wait()
    await _end_idle_transactions(engine)
    await _relayed(successor)
    await _publish(sessions, organization, key, 2)
    await _relayed(successor)
    thawed.thawed.set()
    await asyncio.gather(stale, return_exceptions=True)
    await _publish(sessions, organization, key, 3)
    await _relayed(successor)
    versions = [_version(message) for message in await read(kafka_server, organization, 3)]
    assert versions == [1, 2, 3]
    for producer in (thawed, other):
        await producer.close()


async def test_relays_that_fence_each_other_settle_on_one(
    url: str, engine: AsyncEngine, sessions: Sessions, kafka_server: str
) -> None:
    await _counters(engine, ["turns"])
    producers = [relaying(kafka_server, url) for _ in range(2)]
    first, second = (Relay(engine, producer, Wake()) for producer in producers)
    await _publish(sessions, "org-turns", "turns", 1)
    assert await first.relay_batch() == 1
    await _publish(sessions, "org-turns", "turns", 2)
    assert await second.relay_batch() == 1, "one that begins takes over at once"
    for version in range(3, 8):
        await _publish(sessions, "org-turns", "turns", version)
        assert await first.relay_batch() == 0, "it was fenced, and leaves young rows to the other"
        assert await second.relay_batch() == 1
    await _publish(sessions, "org-turns", "turns", 8)
    await _relayed(first)  # the other does not come any more
    versions = [_version(message) for message in await read(kafka_server, "org-turns", 8)]
    assert versions == list(range(1, 9))
    for producer in producers:
        await producer.close()


async def test_a_relay_passes_dead_rows_and_no_row_that_shows_late(
    url: str, engine: AsyncEngine, sessions: Sessions, kafka_server: str
) -> None:
    """A scan begins behind what is relayed, unless a transaction that may have drawn a lower id is still at work."""
    looked: list[int] = []

    def sees(_: object, __: object, statement: str, values: Any, *___: object) -> None:
        if "FROM outbox" in statement and "pg_current_snapshot" in statement:
            looked.append(values[0])

    event.listen(engine.sync_engine, "before_cursor_execute", sees)
    producer = relaying(kafka_server, url)
    relay = Relay(engine, producer, Wake())
    await _counters(engine, ["passed", "late"])
    try:
        async with sessions() as late:
            await append(late, note_event("org-passed", "late", 1))
            for version in range(1, 5):
                await _publish(sessions, "org-passed", "passed", version)
                assert await relay.relay_batch() == 1
            newest = set(looked)
            await late.commit()
        assert newest == {0}, "a row below may still come"
        assert await relay.relay_batch() == 1, "the row that was drawn first and committed last"
        for version in range(5, 8):
            await _publish(sessions, "org-passed", "passed", version)
            assert await relay.relay_batch() == 1
        assert looked[-1] > 0
    finally:
        event.remove(engine.sync_engine, "before_cursor_execute", sees)
        await producer.close()


class CountingProducer(Producer):
    """Notes how many messages each transaction of Kafka has."""

    def __init__(self, bootstrap_servers: str, url: str) -> None:
        super().__init__(
            bootstrap_servers, client_id="counting", transactional_id=transactional_id_of("people-sync", url)
        )
        self.sizes: list[int] = []

    async def send(self, records: Sequence[Record]) -> None:
        await super().send(records)
        self.sizes.append(len(records))


async def test_events_right_after_another_are_gathered(
    url: str, engine: AsyncEngine, sessions: Sessions, kafka_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("servicekit.kafka.outbox.GATHER_SECONDS", 1.0)
    await _counters(engine, ["gathered"])
    producer, wake = CountingProducer(kafka_server, url), Wake()
    relay = Relay(engine, producer, wake, poll_seconds=60)

    async def steps() -> None:
        while True:
            await relay.step()

    async def publish(*versions: int) -> None:
        for version in versions:
            await _publish(sessions, "org-gathered", "gathered", version)
            wake.set()

    await publish(1)
    task = asyncio.create_task(steps())
    try:
        await eventually(lambda: sum(producer.sizes) == 1)
        await publish(2)
        await asyncio.wait([task], timeout=0.2)
        assert producer.sizes == [1], "it waits for more"
        await publish(3, 4)
        await eventually(lambda: sum(producer.sizes) == 4)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await producer.close()
    assert producer.sizes == [1, 3]


async def test_a_relay_that_could_not_be_fenced_is_refused(engine: AsyncEngine, kafka_server: str) -> None:
    with pytest.raises(ValueError, match="transactional id"):
        Relay(engine, Producer(kafka_server, client_id="bare"), Wake())


def relaying(kafka: str, url: str) -> Producer:
    """A producer as the service's relay has it."""
    return Producer(kafka, client_id="relay", transactional_id=transactional_id_of("people-sync", url))


async def _relayed(relay: Relay) -> None:
    async def one() -> bool:
        return await relay.relay_batch() == 1

    await eventually(one)


async def _publish(sessions: Sessions, organization: str, key: str, version: int) -> None:
    async with sessions.begin() as session:
        await append(session, note_event(organization, key, version))


async def _end_idle_transactions(engine: AsyncEngine) -> None:
    """As PostgreSQL does by itself with `idle_in_transaction_session_timeout`, and returns when they have ended."""
    of_others = "datname = current_database() AND state = 'idle in transaction'"
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(
            text(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {of_others}")
        )


def _version(message: Any) -> int:
    return int(message.value.split(b'"version":')[1].split(b",")[0])


async def _counters(engine: AsyncEngine, keys: list[str]) -> None:
    async with engine.begin() as connection:
        for key in keys:
            await connection.execute(
                text("INSERT INTO note (organization_id, id, text, version) VALUES ('org', :key, '', 1)"), {"key": key}
            )


async def _is_empty(engine: AsyncEngine) -> bool:
    async with engine.connect() as connection:
        return await connection.scalar(select(func.count()).select_from(OUTBOX)) == 0


async def test_five_hundred_events_in_three_round_trips(engine: AsyncEngine, sessions: Sessions) -> None:
    with statements(engine) as sent:
        async with sessions.begin() as session:
            await append_all(session, [note_event("org-many", f"many-{n}", 1) for n in range(500)])
    assert len(sent) <= 3, sent
    async with engine.connect() as connection:
        rows = (await connection.execute(select(OUTBOX).order_by(OUTBOX.c.id))).all()
    assert [row.key for row in rows] == [f"many-{n}" for n in range(500)], "the order of the list is the order of ids"
    with pytest.raises(ValueError, match="2001 events"):
        async with sessions.begin() as session:
            await append_all(session, [note_event("org-many", "x", n + 1) for n in range(2001)])


async def test_metadata_and_tombstone(engine: AsyncEngine, sessions: Sessions) -> None:
    with flow("correlation-1", "cause-1"):
        async with sessions.begin() as session:
            await append(session, note_event("org-meta", "key-1", 3), tombstone=True)
    async with engine.connect() as connection:
        fact, tombstone = (await connection.execute(select(OUTBOX).order_by(OUTBOX.c.id))).all()
    assert fact.topic == TOPIC
    assert fact.key == tombstone.key == "key-1"
    assert tombstone.value is None
    assert fact.headers["ce_id"] != tombstone.headers["ce_id"]
    assert {name: fact.headers[name] for name in fact.headers if name not in ("ce_id", "ce_time")} == {
        "ce_specversion": "1.0",
        "ce_type": "WebhookApplied",
        "ce_source": "/people-sync",
        "ce_correlationid": "correlation-1",
        "ce_causationid": "cause-1",
        "content-type": "application/json",
    }


async def test_only_the_registrys_producer_may_append(sessions: Sessions) -> None:
    with pytest.raises(ValueError, match=r"let people-sync publish to auth\.connection\.v1"):
        async with sessions.begin() as session:
            await append(session, fact("org"))


async def test_an_event_that_kafka_refuses_blocks_no_other(
    url: str, engine: AsyncEngine, sessions: Sessions, kafka_server: str
) -> None:
    async with sessions.begin() as session:
        await append(session, note_event("org-big", "k" * 400_000, 1))  # its key is in its body as well
    producer = relaying(kafka_server, url)
    assert await Relay(engine, producer, Wake()).relay_batch() == 1
    await producer.close()
    with pytest.raises(ValueError, match=r"WebhookApplied has 1[0-9]+ bytes"):
        async with sessions.begin() as session:
            await append(session, note_event("org-big", "k" * 600_000, 1))
    assert await _is_empty(engine)


async def test_nothing_leaves_a_transaction_that_is_rolled_back(engine: AsyncEngine, sessions: Sessions) -> None:
    async with sessions() as session:
        await append(session, note_event("org-back", "k", 1))
        await session.rollback()
    assert await _is_empty(engine)


async def test_a_notify_rings_the_relay(sessions: Sessions, url: str) -> None:
    listener = Listener(url)
    wake = listener.wake(CHANNEL)
    task = asyncio.create_task(listener.listen())
    try:
        assert await wake.wait(PATIENCE_SECONDS)  # rung once when the connection stands
        async with sessions.begin() as session:
            await append(session, note_event("org-ring", "k", 1))
        assert await wake.wait(PATIENCE_SECONDS)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
