"""Many churches at once: *Sync Now* behind a queue, waiting facts, and live streams beside an import."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

import asyncpg
import httpx
import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from bench.parameters import Parameters
from bench.table import Row
from bench.work import FREE, church, say, sync
from contracts.base import Event
from contracts.conflicts import ConflictField, ConflictRecord
from contracts.events.people_conflict_v1 import ConflictDetected
from contracts.events.people_record_v1 import MemberChanged
from contracts.people import Member
from contracts.topics import topic_of
from contracts.values import CONFLICT_SERVICE, PEOPLE_SYNC
from local_stack.church import Church
from local_stack.stack import SERVICES, Stack

Shown = Callable[[Row], None]
_OTHERS: Final = 50
"""Number of churches of the waiting facts."""
_IMPORT_PER_SECOND: Final = 460
_QUIET_EVERY: Final = 0.1
_LIVE_SECONDS: Final = 20
_PATIENCE: Final = 600

_QUEUE: Final = """
    WITH churches AS (SELECT gen_random_uuid() AS id, 'queued-' || number AS church FROM generate_series(1, $1) number),
        connected AS (
            INSERT INTO connection (
                organization_id, pco_organization_id, state, generation, version, pco_person_id, country_code, mirrored
            )
            SELECT church, church, 'connected', 1, 1, '1', 'US', true FROM churches
        ),
        runs AS (
            INSERT INTO run (
                id, organization_id, pco_organization_id, kind, state, trigger, phase, done, requests, counts, answers,
                version
            )
            SELECT id, church, church, 'incremental', 'queued', 'schedule', 'pull', 0, 0, '{}', '{}', 1 FROM churches
        )
    INSERT INTO job (id, kind, organization_id, payload, correlation_id)
    SELECT id, 'people.run', church, '{}', 'bench' FROM churches
"""


def queued(asked: Parameters, shown: Shown) -> None:
    """*Sync Now* until its first request, with an empty queue and then behind scheduled runs of many churches."""
    with church(100, **FREE) as (stack, admin):
        sync(admin)
        bare = _until_the_first_request(admin)
        asyncio.run(_execute(stack.database_url(PEOPLE_SYNC, driver="postgresql"), _QUEUE, asked.queued))
        seconds = _until_the_first_request(admin)
    shown(
        Row(
            "Sync Now behind queued runs: until its first request",
            f"{seconds:.2f} s",
            "< 2 s",
            seconds < 2,
            f"{asked.queued:,} runs of other churches queued before it; {bare:.2f} s with none",
        )
    )


def _until_the_first_request(admin: Church) -> float:
    mark, began = admin.control.mark(), datetime.now(UTC)
    run_id = admin.start("incremental")
    give_up = time.monotonic() + _PATIENCE
    while not (found := admin.control.journal(after=mark, path="^/people/", limit=1)):
        if time.monotonic() > give_up:
            raise RuntimeError("no request came")
        time.sleep(0.02)
    admin.wait(run_id)
    return (datetime.fromisoformat(found[0]["at"]) - began).total_seconds()


async def _execute(url: str, statement: str, *values: Any) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement, *values)
    finally:
        await connection.close()


def facts(asked: Parameters, shown: Shown) -> None:
    """Consumption of waiting conflicts by conflict-service, beside a bare read of the topic."""
    with church(100, services=SERVICES, **FREE) as (stack, _):
        taken, bare = asyncio.run(_taken(stack, asked.facts))
    shown(
        Row(
            "conflict-service taking waiting facts: facts/s",
            f"{taken:,.0f}",
            "≥ 1,000",
            taken >= 1000,
            f"{asked.facts:,} new conflicts of {_OTHERS} churches, each stored and announced; counted from the last "
            f"one's arrival at Kafka; {bare:,.0f} facts/s are only read",
        )
    )


async def _taken(stack: Stack, count: int) -> tuple[float, float]:
    connection = await asyncpg.connect(stack.database_url(CONFLICT_SERVICE, driver="postgresql"))
    counting = "SELECT count(*) FROM conflict WHERE organization_id LIKE 'facts-%'"
    try:
        async with AIOKafkaProducer(bootstrap_servers=stack.kafka.bootstrap_servers, linger_ms=5) as producer:
            await asyncio.gather(*[await _sent(producer, _detected(number)) for number in range(count)])
        before, began = await connection.fetchval(counting), time.monotonic()
        last, at = before, began
        while last < count:
            await asyncio.sleep(1)
            last, at = await connection.fetchval(counting), time.monotonic()
            say(f"{last:,} facts taken")
            if at - began > _PATIENCE:
                break
        taken = (last - before) / (at - began)
    finally:
        await connection.close()
    return taken, await _read_bare(stack.kafka.bootstrap_servers, topic_of(ConflictDetected).name, count)


async def _read_bare(bootstrap_servers: str, topic: str, count: int) -> float:
    seen, began = 0, time.monotonic()
    async with AIOKafkaConsumer(topic, bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest") as consumer:
        while seen < count:
            seen += sum(len(some) for some in (await consumer.getmany(timeout_ms=1000)).values())
    return seen / (time.monotonic() - began)


def _detected(number: int) -> ConflictDetected:
    return ConflictDetected(
        organization_id=f"facts-{number % _OTHERS}",
        version=1,
        conflict_id=str(uuid4()),
        record=ConflictRecord(kind="member", id=str(uuid4()), name=f"Person {number}", pco_id=str(number)),
        fields=(ConflictField(field="email", base="old", ours=f"a{number}@example.org", theirs="b@example.org"),),
        occurred_at=datetime.now(UTC),
    )


async def _sent(producer: AIOKafkaProducer, fact: Event) -> "asyncio.Future[Any]":
    """Send a fact; the future is Kafka's confirmation."""
    headers = {
        "ce_specversion": "1.0",
        "content-type": "application/json",
        "ce_id": str(uuid4()),
        "ce_type": type(fact).__name__,
        "ce_source": "/bench",
        "ce_time": datetime.now(UTC).isoformat(),
    }
    confirmed: asyncio.Future[Any] = await producer.send(
        topic_of(type(fact)).name,
        fact.model_dump_json().encode(),
        key=fact.key.encode(),
        headers=[(name, value.encode()) for name, value in headers.items()],
    )
    return confirmed


def live(asked: Parameters, shown: Shown) -> None:  # noqa: ARG001 - the signature of every figure
    """Latency of a church's live facts, first without other traffic and then during another church's import."""
    with church(100, **FREE) as (stack, admin):
        organization = str(admin.get("/me")["user"]["organization_id"])
        bare = asyncio.run(_heard(stack, organization, 0))
        busy = asyncio.run(_heard(stack, organization, _IMPORT_PER_SECOND))
    shown(
        Row(
            "live stream of others during an import: p95",
            f"{busy * 1000:.0f} ms",
            "< 500 ms",
            busy < 0.5,
            f"another church publishes {_IMPORT_PER_SECOND} facts/s for {_LIVE_SECONDS} s; from the producer to the "
            f"stream; {bare * 1000:.0f} ms while nobody publishes",
        )
    )


async def _heard(stack: Stack, organization: str, import_per_second: int) -> float:
    sent: dict[str, float] = {}
    delays: list[float] = []
    listening = asyncio.Event()

    async def listen() -> None:
        headers = {"Authorization": f"Bearer {stack.token()}"}
        address = f"{stack.url()}/api/v1/live?topics={topic_of(MemberChanged).name}"
        async with (
            httpx.AsyncClient(timeout=None, trust_env=False) as http,
            http.stream("GET", address, headers=headers) as answer,
        ):
            async for line in answer.aiter_lines():
                listening.set()
                if line.startswith("data:") and '"member"' in line:
                    member = orjson.loads(line[5:])["body"]["member"]["id"]
                    delays.append(time.monotonic() - sent.pop(member))

    async with AIOKafkaProducer(bootstrap_servers=stack.kafka.bootstrap_servers, linger_ms=2) as producer:
        task = asyncio.create_task(listen())
        await listening.wait()
        began = time.monotonic()
        quiet = busy = 0
        while (passed := time.monotonic() - began) < _LIVE_SECONDS:
            for _ in range(int(passed * import_per_second) - busy):
                await _sent(producer, _changed("busy-church"))
                busy += 1
            if passed >= quiet * _QUIET_EVERY:
                fact = _changed(organization)
                sent[fact.member.id] = time.monotonic()
                await _sent(producer, fact)
                quiet += 1
            await asyncio.sleep(0.005)
        give_up = time.monotonic() + 60
        while sent and time.monotonic() < give_up:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    if sent:
        raise RuntimeError(f"{len(sent)} facts were never heard")
    return sorted(delays)[int(len(delays) * 0.95)]


def _changed(organization: str) -> MemberChanged:
    now = datetime.now(UTC)
    member = Member(id=str(uuid4()), first_name="Ada", last_name="Moreno", version=1, created_at=now, updated_at=now)
    return MemberChanged(organization_id=organization, version=1, member=member, changed_at=now)
