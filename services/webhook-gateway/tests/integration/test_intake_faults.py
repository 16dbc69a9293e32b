"""What was answered 200 is stored, whatever dies; what is not stored is answered 503."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest
from aiokafka import AIOKafkaConsumer
from cryptography.fernet import Fernet
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from intake_harness import Address, body_of, delivery, make_address

from contracts.events.webhooks_delivery_v1 import WebhookReceived
from servicekit.db.migrations import migrate
from servicekit.local import LocalPostgres
from servicekit.local.process import free_port
from servicekit.testing import Databases, KeyRing, serve
from servicekit.testing.databases import Database
from servicekit.testing.time import eventually
from servicekit.vault import Vault
from webhook_gateway.usecases import writer

SEALING: Final = Fernet.generate_key().decode()
VAULT: Final = Vault([SEALING])


async def stored(database: Database, address: Address) -> set[str]:
    rows = await database.fetch(
        "SELECT delivery_id FROM delivery JOIN webhook_body ON webhook_body.id = body_id "
        "WHERE delivery.organization_id = $1",
        address.organization_id,
    )
    return {row["delivery_id"] for row in rows}


async def test_while_the_database_is_away_deliveries_are_refused_and_then_taken(
    own_postgres: LocalPostgres, make_intake: Any
) -> None:
    own_postgres.create_role_and_database("webhook-gateway")
    url = own_postgres.url("webhook_gateway", role="webhook_gateway", driver="postgresql+asyncpg")
    await migrate(url, "webhook_gateway")
    database = Database(url)
    address, uncached = await make_address(database, VAULT), await make_address(database, VAULT)
    async with serve(await make_intake(database_url=url, webhook_encryption_keys=SEALING)) as client:
        assert (await address.send(client, body_of())).status_code == 200
        await asyncio.to_thread(own_postgres.kill)
        body = body_of()
        for one in (address, uncached):
            answer = await one.send(client, body)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            assert answer.headers["content-type"] == "application/problem+json"
        assert (await client.operators.get("/readyz")).json()["failing"].keys() == {"postgres"}
        assert (await client.operators.get("/livez")).status_code == 200
        await asyncio.to_thread(own_postgres.start)

        async def taken() -> bool:
            return (await address.send(client, body)).status_code == 200

        await eventually(taken)
        assert len(await stored(database, address)) == 2

        async def counted() -> Any:
            return await database.value("SELECT sum(count) FROM refused_call WHERE reason = 'not stored'")

        assert await eventually(counted) >= 2, "counted while it was away, and written afterwards"


async def test_a_slow_database_is_answered_in_time(
    databases: Databases, make_intake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "STORE_SECONDS", 0.3)
    url = await databases.create("webhook_gateway")
    database = Database(url)
    address = await make_address(database, VAULT)
    async with serve(await make_intake(database_url=url, webhook_encryption_keys=SEALING)) as client:
        async with database.connection() as held, held.transaction():
            await held.execute("LOCK TABLE delivery IN ACCESS EXCLUSIVE MODE")
            assert (await address.send(client, body_of())).status_code == 503
        assert (await address.send(client, body_of())).status_code == 200
    assert len(await stored(database, address)) == 1


async def test_one_bad_row_fails_alone(databases: Databases, make_intake: Any) -> None:
    url = await databases.create("webhook_gateway")
    database = Database(url)
    address = await make_address(database, VAULT)
    # Nothing of a body can cause this, so the database is told to refuse one.
    await database.fetch("ALTER TABLE delivery ADD CHECK (resource_id <> 'bad')")
    bodies = [body_of(delivery(resource_id="bad" if number == 7 else str(number))) for number in range(20)]
    async with serve(await make_intake(database_url=url, webhook_encryption_keys=SEALING)) as client:
        answers = await asyncio.gather(*(address.send(client, body) for body in bodies))
    assert [answer.status_code for answer in answers] == [503 if number == 7 else 200 for number in range(20)]
    assert len(await stored(database, address)) == 19


async def test_every_delivery_answered_200_survives_kills_of_two_processes(databases: Databases, keys: KeyRing) -> None:
    url = await databases.create("webhook_gateway")
    database = Database(url)
    address = await make_address(database, VAULT)
    ports = [free_port(), free_port()]
    processes = [await start(url, port, keys) for port in ports]
    answered: set[str] = set()
    kills = 0

    async def sender(client: httpx.AsyncClient, number: int) -> None:
        """Repeat each delivery until it is answered, at either process, as the vendor does."""
        while kills < 3:
            name = str(uuid4())
            body = body_of(delivery(delivery_id=name, resource_id=name[:8]))
            attempt = 0
            while name not in answered:
                attempt += 1
                port = ports[(number + attempt) % 2]
                try:
                    answer = await client.post(
                        f"http://127.0.0.1:{port}{address.path}", content=body, headers=address.headers(body)
                    )
                except httpx.TransportError:
                    await asyncio.sleep(0.05)
                    continue
                assert answer.status_code in {200, 503}
                if answer.status_code == 200:
                    answered.add(name)

    try:
        async with httpx.AsyncClient(timeout=10) as client:
            senders = [asyncio.create_task(sender(client, number)) for number in range(8)]
            try:
                for number in range(3):
                    enough = len(answered) + 60

                    def goes_on(enough: int = enough) -> bool:
                        return len(answered) > enough or any(task.done() for task in senders)

                    await eventually(goes_on)
                    victim = number % 2
                    processes[victim].kill()
                    await processes[victim].wait()
                    processes[victim] = await start(url, ports[victim], keys)
                    kills += 1
                await asyncio.wait_for(asyncio.gather(*senders), 60)
            finally:
                for task in senders:
                    task.cancel()
    finally:
        for process in processes:
            process.kill()
            await process.wait()
    assert len(answered) > 100
    found = await stored(database, address)
    assert answered <= found, "answered 200 and not stored"
    assert await database.value("SELECT count(*) = count(DISTINCT delivery_id) FROM delivery"), "a repeat was stored"
    assert await database.value("SELECT count(*) FROM outbox") == len(found)


async def start(url: str, port: int, keys: KeyRing) -> asyncio.subprocess.Process:
    environment = {
        **os.environ,
        "DATABASE_URL": url,
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "HTTP_PORT": str(port),
        "OPERATOR_PORT": "0",
        "LOG_LEVEL": "ERROR",
        "SIGNING_KEY": keys.signing_key("webhook-gateway"),
        "TRUSTED_KEYS": keys.trusted_keys,
        "WEBHOOK_ENCRYPTION_KEYS": SEALING,
        **{f"{name}_URL": "http://127.0.0.1:1" for name in ("AUTH_SERVICE", "PEOPLE_SYNC", "CALENDAR_SYNC")},
        "CONFLICT_SERVICE_URL": "http://127.0.0.1:1",
        "IDENTITY_ISSUER": "http://127.0.0.1:1",
        "IDENTITY_JWKS_URL": "http://127.0.0.1:1",
        "IDENTITY_AUDIENCE": "church-platform",
        "CONSOLE_CLIENT_ID": "console",
    }
    return await asyncio.create_subprocess_exec(sys.executable, "-m", "webhook_gateway", "intake", env=environment)


async def test_sigterm_finishes_what_was_begun(databases: Databases, keys: KeyRing) -> None:
    url = await databases.create("webhook_gateway")
    database = Database(url)
    address = await make_address(database, VAULT)
    port = free_port()
    process = await start(url, port, keys)
    try:
        async with httpx.AsyncClient(timeout=10, base_url=f"http://127.0.0.1:{port}") as client:

            async def taken() -> bool:
                try:
                    return (await address.send(client, body_of())).status_code == 200
                except httpx.TransportError:
                    return False

            await eventually(taken)
            calls = [asyncio.create_task(address.send(client, body_of())) for _ in range(50)]
            await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            process.send_signal(signal.SIGTERM)
            answers = await asyncio.gather(*calls, return_exceptions=True)
        assert await asyncio.wait_for(process.wait(), 20) == -signal.SIGTERM, "uvicorn ends by the signal, in order"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    good = [answer for answer in answers if isinstance(answer, httpx.Response) and answer.status_code == 200]
    assert len(await stored(database, address)) >= len(good) + 1


@pytest.fixture
async def limited(databases: Databases, make_intake: Any) -> AsyncIterator[tuple[httpx.AsyncClient, Database, FastAPI]]:
    url = await databases.create("webhook_gateway")
    app = await make_intake(
        database_url=url,
        webhook_encryption_keys=SEALING,
        limit_webhooks_per_minute=5,
        limit_webhook_guesses_per_minute=5,
        http_body_seconds=0.5,
        http_body_budget_bytes=1024 * 1024,
    )
    async with serve(app) as client:
        yield client, Database(url), app


async def test_guesses_do_not_hammer_the_database(limited: tuple[httpx.AsyncClient, Database, FastAPI]) -> None:
    client, database, _ = limited
    known, uncalled = await make_address(database, VAULT), await make_address(database, VAULT)
    assert (await known.send(client, body_of())).status_code == 200
    answers = [await client.post(f"/webhooks/pco/{number}", content=b"{}") for number in range(20)]
    statuses = [answer.status_code for answer in answers]
    assert statuses[:5] == [404] * 5
    assert 429 in statuses[5:]
    assert next(answer for answer in answers if answer.status_code == 429).headers["retry-after"]
    for church in (known, uncalled):
        assert (await church.send(client, body_of())).status_code == 200, "churches' own addresses go on"


async def test_a_storm_of_one_connection_is_limited_and_costs_no_other(
    limited: tuple[httpx.AsyncClient, Database, FastAPI],
) -> None:
    client, database, _ = limited
    storming, other = await make_address(database, VAULT), await make_address(database, VAULT)
    statuses = [(await storming.send(client, body_of())).status_code for _ in range(8)]
    assert statuses[:5] == [200] * 5
    assert 429 in statuses
    assert (await other.send(client, body_of())).status_code == 200


async def test_a_slow_body_and_a_full_budget(limited: tuple[httpx.AsyncClient, Database, FastAPI]) -> None:
    client, database, _ = limited
    address, other = await make_address(database, VAULT), await make_address(database, VAULT)

    async def trickle() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(3)

    slow = await client.post(address.path, content=trickle(), headers=address.headers(b"{}"))
    assert slow.status_code == 408
    large = b" " * (300 * 1024)
    answer = await address.send(client, large)
    assert answer.status_code == 429, "a church may hold a quarter of the budget"
    assert (await other.send(client, body_of())).status_code == 200


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"]),
    tail=st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    body=st.binary(max_size=300),
    headers=st.dictionaries(
        st.sampled_from(
            ["X-PCO-Webhooks-Name", "X-PCO-Webhooks-Authenticity", "Content-Type", "Content-Encoding", "X-Other"]
        ),
        st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=80).map(
            lambda text: text.strip().encode("latin-1")
        ),
    ),
    known=st.booleans(),
    signed=st.booleans(),
)
async def test_no_call_is_answered_with_an_error_of_ours(
    fuzzed: tuple[httpx.AsyncClient, Address, set[int]],
    method: str,
    tail: str,
    body: bytes,
    headers: dict[str, bytes],
    known: bool,
    signed: bool,
) -> None:
    client, address, documented = fuzzed
    path = address.path if known else f"/webhooks/pco/{quote(tail, safe='/')}"
    given_headers: Any = headers | (address.headers(body) if signed else {})
    answer = await client.request(method, path, content=body, headers=given_headers)
    assert answer.status_code < 500
    assert answer.status_code in documented, answer.status_code
    if answer.status_code >= 400 and method != "TRACE":
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.fixture
async def fuzzed(databases: Databases, make_intake: Any) -> AsyncIterator[tuple[httpx.AsyncClient, Address, set[int]]]:
    url = await databases.create("webhook_gateway")
    address = await make_address(Database(url), VAULT)
    app = await make_intake(database_url=url, webhook_encryption_keys=SEALING)
    documented = app.openapi()["paths"]["/webhooks/pco/{key}"]["post"]["responses"]
    async with serve(app) as client:
        yield client, address, {int(status) for status in documented}


async def test_the_log_tells_when_kafka_had_a_delivery(
    make_gateway: Any, make_intake: Any, databases: Databases, kafka_server: str
) -> None:
    url = await databases.create("webhook_gateway")
    database = Database(url)
    address = await make_address(database, VAULT)
    async with serve(await make_intake(database_url=url, webhook_encryption_keys=SEALING)) as client:
        name = str(uuid4())
        body = body_of(delivery(delivery_id=name), delivery(organization="10"))
        correlation = uuid4().hex
        headers = address.headers(body) | {"X-Correlation-ID": correlation}
        assert (await client.post(address.path, content=body, headers=headers)).status_code == 200
    before = await database.fetch("SELECT state, stored_at, published_at FROM delivery ORDER BY id")
    assert [row["published_at"] for row in before] == [None, None]
    async with (
        AIOKafkaConsumer(
            "webhooks.delivery.v1",
            bootstrap_servers=kafka_server,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        ) as consumer,
        serve(await make_gateway(database_url=url, webhook_encryption_keys=SEALING)),
    ):
        while True:
            record = await asyncio.wait_for(consumer.getone(), 60)
            fact = WebhookReceived.model_validate_json(record.value)
            if fact.delivery_id == name:
                break

        async def noted() -> Any:
            return await database.value("SELECT published_at FROM delivery WHERE delivery_id = $1", name)

        published = await eventually(noted)
    assert published > before[0]["stored_at"]
    assert dict(record.headers)["ce_correlationid"].decode() == correlation
    assert await database.value("SELECT published_at IS NULL FROM delivery WHERE state = 'failed'")
    assert await database.value("SELECT count(*) FROM outbox WHERE topic = 'webhooks.delivery.v1'") == 0
