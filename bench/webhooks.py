"""The intake of deliveries: what it costs, how long it takes, and how a delivery is recognized among many."""

import asyncio
import hmac
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import ceil
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import uvicorn
from cryptography.fernet import Fernet
from fastapi import FastAPI, Request
from fastapi.responses import Response
from sqlalchemy.ext.asyncio import create_async_engine

from bench.parameters import Parameters
from bench.table import Row
from bench.work import FREE, organization, say
from contracts.values import AUTH_SERVICE, PEOPLE_SYNC, WEBHOOK_GATEWAY
from local_stack.church import Church
from local_stack.stack import Stack
from servicekit.db.migrations import migrate
from servicekit.db.sessions import make_sessions
from servicekit.local import LocalPostgres
from servicekit.local.process import free_port, port_is_free, spawn, stop_process
from servicekit.testing.keys import KeyRing
from servicekit.vault import Vault
from webhook_gateway.storage import seen as seen_rows
from webhook_gateway.storage.keys import key_hash
from webhook_gateway.storage.tables import SLOTS

Shown = Callable[[Row], None]
_NAME: Final = "people.v2.events.person.updated"
_CALLERS: Final = 64
_SECONDS: Final = 5.0
_OPEN_SECONDS: Final = 10.0
_ATTRIBUTES: Final = {f"attribute_{number}": "a value of some length" for number in range(25)}
"""A person's payload has about as many bytes."""
_BATCH: Final = 20
_AWAY_RATE: Final = 200
_CACHE: Final = Path(__file__).parents[1] / ".cache"
_ROUNDS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Target:
    """An address to deliver to."""

    port: int
    path: str
    secret: str


def intake(asked: Parameters, shown: Shown) -> None:
    """The intake's processes with a PostgreSQL that syncs, callers in a process of their own."""
    with _place(processes=2) as (targets, dsn), _bare() as bare:
        first = targets[0]
        _closed(bare), _closed(first)
        rates: dict[str, list[float]] = {"bare": [], "intake": []}
        for _ in range(asked.repeat):
            rates["bare"].append(_closed(bare))
            rates["intake"].append(_closed(first))
        ratio = median(rates["intake"]) / median(rates["bare"])
        say(f"deliveries/s: {rates}")
        shown(
            Row(
                "intake ÷ a bare FastAPI endpoint that verifies and stores nothing",
                f"{ratio:.2f}",
                "≥ 0.6",
                ratio >= 0.6,
                f"one process each, {_CALLERS} callers for {_SECONDS:.0f} s (median of {asked.repeat}): "
                f"{median(rates['intake']):,.0f}/s stored with fsync, {median(rates['bare']):,.0f}/s by uvicorn's own "
                f"HTTP; callers, both and PostgreSQL share {os.cpu_count()} cores",
            )
        )
        for rate, aim in ((500, 0.05), (2_000, 0.15)):
            took = _open([(targets, rate)])[0]
            p99 = _percentile(took, 0.99)
            shown(
                Row(
                    f"intake at {rate:,} deliveries/s: p99",
                    f"{p99 * 1000:.0f} ms",
                    f"< {aim * 1000:.0f} ms",
                    p99 < aim,
                    f"open loop for {_OPEN_SECONDS:.0f} s to two processes, from the moment at which each was due, "
                    f"fsync on; median {median(took) * 1000:.0f} ms, {len(took) / _OPEN_SECONDS:,.0f}/s answered",
                )
            )
        other = targets[2:]
        alone = _percentile(_open([(other, 50)])[0], 0.99)
        beside = _percentile(_open([(other, 50), (targets[:2], 400)])[0], 0.99)
        shown(
            Row(
                "a church storming with 400/s: another's p99",
                f"{(beside / alone - 1) * 100:+.0f} %",
                "+ < 20 %",
                beside < alone * 1.2,
                f"50/s of the other one for {_OPEN_SECONDS:.0f} s: p99 {alone * 1000:.0f} ms alone, "
                f"{beside * 1000:.0f} ms beside it",
            )
        )
        count, sizes = asyncio.run(_sizes(dsn))
        whole = sum(sizes.values()) / count
        shown(
            Row(
                "database per million deliveries",
                f"{whole / 1000:.2f} GB",
                "shown",
                None,
                f"{count:,} stored, bodies of {len(_body()):,} bytes; bytes each with indexes: "
                + ", ".join(f"{name} {size / count:,.0f}" for name, size in sizes.items()),
            )
        )


def applied(asked: Parameters, shown: Shown) -> None:
    """The time from a change in Planning Center until it is here."""
    with _church() as (stack, admin):
        church = organization(admin)["id"]
        people = [one for one in admin.members(state="linked") if one["last_name"]][: asked.asked]
        took = []
        for number, one in enumerate(people):
            mark, name = admin.control.mark(), f"Changed-{number}"
            began = time.monotonic()
            admin.control.edit_person(church, one["link"]["pco_id"], last_name=name)
            while admin.get(f"/people/members/{one['id']}")["last_name"] != name:
                time.sleep(0.01)
            seconds = time.monotonic() - began
            vendors = sum(entry["duration_ms"] for entry in admin.control.journal(after=mark)) / 1000
            took.append(seconds - vendors)
        p50, p99 = median(took), _percentile(took, 0.99)
        shown(
            Row(
                "change there → applied here: p50, p99",
                f"{p50 * 1000:.0f} ms, {p99 * 1000:.0f} ms",
                "< 100 ms, < 500 ms",
                p50 < 0.1 and p99 < 0.5,
                f"{len(took)} people renamed there, one after the other: from the call that renames until the API here "
                "gives the new name, without the vendor's answers; all services on this machine",
            )
        )
        _drained(asked, shown, stack, admin)


def _drained(asked: Parameters, shown: Shown, stack: Stack, admin: Church) -> None:
    [subscription] = [one for one in admin.control.subscriptions(organization(admin)["id"]) if one["name"] == _NAME]
    url = urlsplit(subscription["url"])
    target = Target(url.port or 80, url.path, subscription["authenticity_secret"])
    people = [one["link"]["pco_id"] for one in admin.members(state="linked")]
    whose = organization(admin)["id"]
    stack.kafka.kill()
    sent = _elsewhere(_send_while_away, target, _AWAY_RATE, asked.away, people, whose)
    stack.kafka.start()
    began = time.monotonic()
    dsn = stack.database_url(WEBHOOK_GATEWAY, driver="postgresql")
    published = asyncio.run(_until_none(dsn, "published_at IS NULL AND state = 'waiting'")) - began
    every = asyncio.run(_until_none(dsn, "state = 'waiting'")) - began
    shown(
        Row(
            f"Kafka away for {asked.away} s at {_AWAY_RATE}/s: time to drain",
            f"{published:.0f} s",
            "< 60 s",
            published < 60,
            f"{sent:,} deliveries about {len(people)} people, all answered 200 meanwhile: from Kafka's return until "
            f"all are published; until all have their outcome {every:.0f} s, by a vendor without limit and latency",
        )
    )


def _send_while_away(target: Target, rate: int, seconds: int, people: Sequence[str], organization_id: str) -> int:
    async def run() -> int:
        connections = _Connections(target.port)
        count = rate * seconds
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                await asyncio.sleep(max(0, began + number / rate - time.monotonic()))
                request = _request(target, people[number % len(people)], organization_id)
                group.create_task(connections.ask(request))
        return count

    return asyncio.run(run())


async def _until_none(dsn: str, which: str) -> float:
    """The moment at which no delivery fits."""
    connection = await asyncpg.connect(dsn)
    try:
        while await connection.fetchval(f"SELECT EXISTS (SELECT FROM delivery WHERE {which})"):  # noqa: ASYNC110 - a database tells of nothing by itself
            await asyncio.sleep(0.2)
        return time.monotonic()
    finally:
        await connection.close()


@contextmanager
def _church() -> Iterator[tuple[Stack, Church]]:
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as state,
        Stack(
            state,
            people=300,
            services=(AUTH_SERVICE, PEOPLE_SYNC, WEBHOOK_GATEWAY),
            environment={WEBHOOK_GATEWAY: {"LIMIT_WEBHOOKS_PER_MINUTE": "1000000"}},
            simulator_settings={"journal_requests": 20_000, **FREE},
            cache=_CACHE,
        ) as stack,
        Church.of(stack) as admin,
    ):
        admin.connect()
        admin.sync()
        admin.eventually(lambda: admin.get("/webhooks/status")["people"]["state"] == "live", "changes come at once")
        yield stack, admin


def seen(asked: Parameters, shown: Shown) -> None:
    """Recognizing deliveries in an empty table and in one of 30 days."""
    with _database() as (_, url):
        empty, full, size, cleaned = asyncio.run(_recognize(url, asked.seen))
    shown(
        Row(
            f"dedupe at {asked.seen:,} rows ÷ at an empty table: p99",
            f"{full / empty:.2f}",
            "≤ 1.5",
            full <= empty * 1.5,
            f"{_ROUNDS:,} transactions of {_BATCH} new deliveries, fsync on: p99 {full * 1000:.1f} ms, at an empty "
            f"table {empty * 1000:.1f} ms; {size / asked.seen:.0f} bytes a row with its index; a slot is emptied in "
            f"{cleaned * 1000:.0f} ms",
        )
    )


async def _recognize(url: str, count: int) -> tuple[float, float, float, float]:
    engine = create_async_engine(url)
    sessions = make_sessions(engine, WEBHOOK_GATEWAY)

    async def p99() -> float:
        took = []
        for _ in range(_ROUNDS):
            pairs = [(1, uuid4()) for _ in range(_BATCH)]
            began = time.monotonic()
            async with sessions.begin() as session:
                assert len(await seen_rows.note(session, pairs)) == _BATCH
            took.append(time.monotonic() - began)
        return _percentile(took, 0.99)

    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        await p99()
        empty = await p99()
        now = int(time.time() // 86400 // seen_rows.SLOT_DAYS)
        for back in range(4):
            slot = (now - back) % SLOTS
            say(f"a quarter of {count:,} rows in slot {slot}")
            await connection.execute(f"ALTER TABLE seen DETACH PARTITION seen_{slot}")
            await connection.execute(f"ALTER TABLE seen_{slot} DROP CONSTRAINT seen_{slot}_pkey")
            await connection.execute(
                f"INSERT INTO seen_{slot} SELECT {slot}, number % 1000, gen_random_uuid() "
                f"FROM generate_series(1, {count // 4}) AS number",
                timeout=1800,
            )
            await connection.execute(f"ALTER TABLE seen_{slot} ADD PRIMARY KEY (slot, key_id, delivery)", timeout=1800)
            await connection.execute(f"ALTER TABLE seen ATTACH PARTITION seen_{slot} FOR VALUES IN ({slot})")
        await connection.execute("VACUUM ANALYZE seen", timeout=1800)
        size = await connection.fetchval(
            f"SELECT sum(pg_total_relation_size('seen_' || slot)) FROM generate_series(0, {SLOTS - 1}) AS slot"
        )
        await engine.dispose()  # prepared statements of the empty table
        await p99()
        full = await p99()
        oldest = (now - 3) % SLOTS
        began = time.monotonic()
        await connection.execute(f"TRUNCATE seen_{oldest}")
        return empty, full, float(size), time.monotonic() - began
    finally:
        await connection.close()
        await engine.dispose()


async def _sizes(dsn: str) -> tuple[int, dict[str, float]]:
    connection = await asyncpg.connect(dsn)
    try:
        count = await connection.fetchval("SELECT count(*) FROM delivery")
        sizes = {
            name: float(await connection.fetchval(f"SELECT pg_total_relation_size('{name}')"))
            for name in ("webhook_body", "delivery")
        }
        sizes["seen"] = float(
            await connection.fetchval(
                f"SELECT sum(pg_total_relation_size('seen_' || slot)) FROM generate_series(0, {SLOTS - 1}) AS slot"
            )
        )
        return count, sizes
    finally:
        await connection.close()


@contextmanager
def _database() -> Iterator[tuple[str, str]]:
    """A PostgreSQL with the gateway's tables: URLs for asyncpg and for SQLAlchemy."""
    with tempfile.TemporaryDirectory(prefix="bench-") as home, LocalPostgres(Path(home)) as server:
        server.create_role_and_database(WEBHOOK_GATEWAY)
        name = WEBHOOK_GATEWAY.replace("-", "_")
        url = server.url(name, role=name, driver="postgresql+asyncpg")
        asyncio.run(migrate(url, name))
        yield url.replace("+asyncpg", ""), url


@contextmanager
def _place(*, processes: int) -> Iterator[tuple[list[Target], str]]:
    """Intakes, and two churches' addresses at each of them: those of the first church first."""
    with ExitStack() as stack:
        dsn, url = stack.enter_context(_database())
        sealing = Fernet.generate_key().decode()
        addresses = asyncio.run(_addresses(dsn, Vault([sealing])))
        ports = [free_port() for _ in range(processes)]
        for port in ports:
            stack.enter_context(_intake(url, port, sealing))
        yield [Target(port, path, secret) for path, secret in addresses for port in ports], dsn


async def _addresses(dsn: str, vault: Vault) -> list[tuple[str, str]]:
    connection = await asyncpg.connect(dsn)
    made = []
    for number in range(2):
        key, secret, row = secrets.token_urlsafe(32), secrets.token_hex(32), uuid4()
        key_id = await connection.fetchval(
            "INSERT INTO webhook_key (organization_id, product, generation, pco_organization_id, key_hash, sealed_key, "
            "created_at) VALUES ($1, 'people', 1, '9', $2, $3, now()) RETURNING id",
            f"church-{number}",
            key_hash(key),
            vault.seal(key),
        )
        await connection.execute(
            "INSERT INTO webhook_subscription (id, key_id, name, state, sealed_secret, changed_at) "
            "VALUES ($1, $2, $3, 'active', $4, now())",
            row,
            key_id,
            _NAME,
            vault.seal(secret, row=str(row)),
        )
        made.append((f"/webhooks/pco/{key}", secret))
    await connection.close()
    return made


@contextmanager
def _intake(url: str, port: int, sealing: str) -> Iterator[None]:
    keys = KeyRing()
    nowhere = "http://127.0.0.1:1"
    environment = {
        **os.environ,
        **{f"{name}_URL": nowhere for name in ("AUTH_SERVICE", "PEOPLE_SYNC", "CONFLICT_SERVICE", "CALENDAR_SYNC")},
        "DATABASE_URL": url,
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "HTTP_PORT": str(port),
        "OPERATOR_PORT": "0",
        "SIGNING_KEY": keys.signing_key(WEBHOOK_GATEWAY),
        "TRUSTED_KEYS": keys.trusted_keys,
        "WEBHOOK_ENCRYPTION_KEYS": sealing,
        "IDENTITY_ISSUER": nowhere,
        "IDENTITY_JWKS_URL": nowhere,
        "IDENTITY_AUDIENCE": "church-platform",
        "CONSOLE_CLIENT_ID": "console",
        "LIMIT_WEBHOOKS_PER_MINUTE": "100000000",
    }
    process = spawn([sys.executable, "-m", "webhook_gateway", "intake"], env=environment, stdout=subprocess.DEVNULL)
    try:
        _until_it_listens(port)
        yield
    finally:
        stop_process(process, signal.SIGTERM, within=30)


@contextmanager
def _bare() -> Iterator[Target]:
    port, secret = free_port(), secrets.token_hex(32)
    process = get_context("spawn").Process(target=_serve_bare, args=(port, secret), daemon=True)
    process.start()
    try:
        _until_it_listens(port)
        yield Target(port, "/webhooks/pco/key", secret)
    finally:
        process.kill()
        process.join()


def _serve_bare(port: int, secret: str) -> None:
    app = FastAPI()

    @app.post("/webhooks/pco/{key}")
    async def take(key: str, request: Request) -> Response:  # noqa: ARG001 - as the intake's
        signature = hmac.digest(secret.encode(), await request.body(), "sha256").hex()
        good = hmac.compare_digest(signature, request.headers.get("x-pco-webhooks-authenticity", ""))
        return Response(status_code=200 if good else 401)

    uvicorn.run(app, port=port, access_log=False, log_level="warning")


def _until_it_listens(port: int) -> None:
    deadline = time.monotonic() + 60
    while port_is_free(port):
        if time.monotonic() > deadline:
            raise RuntimeError("a process did not start")
        time.sleep(0.1)


def _body(person: str | None = None, organization_id: str = "9") -> bytes:
    payload = {
        "data": {
            "type": "Person",
            "id": person or str(secrets.randbelow(10**6) + 1),
            "attributes": _ATTRIBUTES,
            "relationships": {"primary_campus": {"data": None}},
        },
        "included": [],
        "meta": {"parent": {"id": organization_id, "type": "Organization"}, "event_time": "2026-01-02T00:00:00Z"},
    }
    delivery = {
        "id": str(uuid4()),
        "type": "EventDelivery",
        "attributes": {"name": _NAME, "attempt": 1, "payload": json.dumps(payload)},
        "relationships": {"organization": {"data": {"type": "Organization", "id": organization_id}}},
    }
    return json.dumps({"data": [delivery]}).encode()


def _request(target: Target, person: str | None = None, organization_id: str = "9") -> bytes:
    body = _body(person, organization_id)
    signature = hmac.digest(target.secret.encode(), body, "sha256").hex()
    lines = [
        f"POST {target.path} HTTP/1.1",
        "Host: here",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        f"X-PCO-Webhooks-Name: {_NAME}",
        f"X-PCO-Webhooks-Authenticity: {signature}",
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + body


class _Connections:
    """Raw connections to one port, as many as are needed at once."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, request: bytes) -> None:
        """RuntimeError unless the answer is 200."""
        while True:
            kept = self._free.pop() if self._free else None
            reader, writer = kept or await asyncio.open_connection("127.0.0.1", self._port)
            writer.write(request)
            try:
                answer = await reader.readuntil(b"\r\n\r\n")
                break
            except (asyncio.IncompleteReadError, ConnectionError):
                if kept is None:
                    raise
                # It was idle, and the server has closed it.
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(answer.decode())
        self._free.append((reader, writer))


def _elsewhere(work: Callable[..., Any], *args: Any) -> Any:
    """The result of a function in a process of its own, which must not share the callee's processor time."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(work, args)


def _closed(target: Target) -> float:
    """Answers per second to callers who ask one after the other."""
    rate: float = _elsewhere(_run_closed, target)
    return rate


def _run_closed(target: Target) -> float:
    requests = [_request(target) for _ in range(25_000)]
    count = 0

    async def run() -> float:
        connections = _Connections(target.port)
        end = time.monotonic() + _SECONDS

        async def caller() -> None:
            nonlocal count
            while requests and time.monotonic() < end:
                await connections.ask(requests.pop())
                count += 1

        began = time.monotonic()
        await asyncio.gather(*(caller() for _ in range(_CALLERS)))
        return count / (time.monotonic() - began)

    return asyncio.run(run())


def _open(streams: Sequence[tuple[Sequence[Target], int]]) -> list[list[float]]:
    """Latencies of each stream of deliveries, which come at their rate whether or not earlier ones are answered."""
    found: list[list[float]] = _elsewhere(_run_open, streams)
    return found


def _run_open(streams: Sequence[tuple[Sequence[Target], int]]) -> list[list[float]]:
    prepared = [
        [
            (targets[n % len(targets)].port, _request(targets[n % len(targets)]))
            for n in range(int(rate * _OPEN_SECONDS))
        ]
        for targets, rate in streams
    ]

    async def run() -> list[list[float]]:
        ports = {port for requests in prepared for port, _ in requests}
        connections = {port: _Connections(port) for port in ports}
        began = time.monotonic() + 0.1

        async def one(due: float, port: int, request: bytes) -> float:
            await connections[port].ask(request)
            return time.monotonic() - due

        async def stream(requests: list[tuple[int, bytes]], rate: int) -> list[float]:
            tasks = []
            for number, (port, request) in enumerate(requests):
                due = began + number / rate
                await asyncio.sleep(max(0, due - time.monotonic()))
                tasks.append(asyncio.create_task(one(due, port, request)))
            return list(await asyncio.gather(*tasks))

        rates = [rate for _, rate in streams]
        return list(await asyncio.gather(*map(stream, prepared, rates)))

    return asyncio.run(run())


def _percentile(took: Sequence[float], part: float) -> float:
    return sorted(took)[ceil(part * len(took)) - 1]
