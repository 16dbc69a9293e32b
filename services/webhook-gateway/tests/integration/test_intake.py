"""Deliveries at a real port, before a real PostgreSQL and without any Kafka."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from cryptography.fernet import Fernet
from fastapi import FastAPI
from intake_harness import NAMES, Address, body_of, delivery, make_address, rotate

from servicekit.db.sessions import make_sessions
from servicekit.testing import Databases, serve
from servicekit.testing.databases import Database
from servicekit.testing.time import FakeClock, eventually
from servicekit.vault import Vault
from webhook_gateway.domain import envelope
from webhook_gateway.storage.keys import key_hash
from webhook_gateway.storage.subscriptions import retire
from webhook_gateway.usecases import keys as keys_in_use
from webhook_gateway.usecases.reencrypt import reencrypt

WEBHOOKS: Final = Path(__file__).parents[5] / "shared" / "pco-data" / "webhooks"
SEALING: Final = Fernet.generate_key().decode()
NOW: Final = datetime(2026, 1, 5, 12, tzinfo=UTC)
NO_LOGS: Final = "nothing of a refused call is stored"


@dataclass
class Place:
    """An intake, its database, and a client."""

    database: Database
    vault: Vault
    client: httpx.AsyncClient
    app: FastAPI
    make: Callable[..., Awaitable[FastAPI]]
    clock: FakeClock

    async def address(self, **more: Any) -> Address:
        return await make_address(self.database, self.vault, **more)

    async def rows(self, address: Address) -> list[dict[str, Any]]:
        return await self.database.fetch(
            "SELECT * FROM delivery WHERE organization_id = $1 ORDER BY id", address.organization_id
        )

    async def bodies(self, address: Address) -> list[bytes]:
        found = await self.database.fetch(
            "SELECT body FROM webhook_body WHERE organization_id = $1 ORDER BY id", address.organization_id
        )
        return [row["body"] for row in found]

    async def facts(self, address: Address) -> list[dict[str, Any]]:
        found = await self.database.fetch("SELECT value, headers FROM outbox ORDER BY id")
        facts = [(json.loads(row["value"]), row["headers"]) for row in found]
        return [
            fact | {"headers": headers} for fact, headers in facts if fact["organization_id"] == address.organization_id
        ]


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def url(databases: Databases) -> str:
    return await databases.create("webhook_gateway")


@pytest_asyncio.fixture(loop_scope="session")
async def place(url: str, make_intake: Any) -> AsyncIterator[Place]:
    clock = FakeClock(NOW)

    async def make(**more: Any) -> FastAPI:
        made: FastAPI = await make_intake(database_url=url, webhook_encryption_keys=SEALING, **more)
        return made

    app = await make(clock=clock)
    async with serve(app) as client:
        yield Place(Database(url), Vault([SEALING]), client, app, make, clock)


def vectors() -> list[Any]:
    found = [json.loads(path.read_text()) for path in sorted(WEBHOOKS.glob("*.json"))]
    bodies = [json.dumps(one["body"]).encode() for one in found if "body" in one]
    signed = [one["raw_body"].encode() for one in found if "raw_body" in one]
    assert len(bodies) >= 4
    assert len(signed) == 1
    return [pytest.param(body, id=json.loads(body)["data"][0]["attributes"]["name"]) for body in bodies + signed]


@pytest.mark.parametrize("body", vectors())
async def test_recorded_deliveries_are_stored_as_they_came(place: Place, body: bytes) -> None:
    document = json.loads(body)["data"][0]
    whose = document.get("relationships", {}).get("organization", {}).get("data", {}).get("id", "9")
    address = await place.address(pco_organization_id=whose)
    assert (await address.send(place.client, body)).status_code == 200
    (row,) = await place.rows(address)
    contents = json.loads(document["attributes"]["payload"])["data"]
    assert (row["state"], row["delivery_id"], row["name"]) == (
        "waiting",
        document["id"],
        document["attributes"]["name"],
    )
    assert (row["resource_type"], row["resource_id"]) == (contents["type"], contents["id"])
    assert row["received_at"] == row["verified_at"] == NOW
    assert await place.bodies(address) == [body]
    (fact,) = await place.facts(address)
    assert (fact["version"], fact["delivery_id"], fact["generation"]) == (row["id"], document["id"], 1)
    assert fact["headers"]["ce_type"] == "WebhookReceived"
    assert fact["headers"]["ce_source"] == "/webhook-gateway"


async def test_the_signature_vector_is_accepted(place: Place) -> None:
    vector = json.loads((WEBHOOKS / "signature-vector.json").read_text())
    address = await place.address()
    name = vector["headers"]["X-PCO-Webhooks-Name"]
    await place.database.fetch(
        "UPDATE webhook_subscription SET sealed_secret = $2 WHERE id = $1",
        address.subscriptions[name],
        place.vault.seal(vector["secret"], row=str(address.subscriptions[name])),
    )
    answer = await place.client.post(address.path, content=vector["raw_body"], headers=vector["headers"])
    assert answer.status_code == 200
    (row,) = await place.rows(address)
    assert (row["person_id"], row["resource_id"], row["event_time"]) == ("77", "501", datetime(2026, 1, 2, tzinfo=UTC))


async def test_the_secret_alone_tells_the_subscription(place: Place) -> None:
    address, body = await place.address(), body_of()
    headers = address.headers(body, name=NAMES[0]) | {"X-PCO-Webhooks-Name": NAMES[3]}
    assert (await place.client.post(address.path, content=body, headers=headers)).status_code == 200
    kept = await place.database.value(
        "SELECT subscription_id FROM webhook_body WHERE organization_id = $1", address.organization_id
    )
    assert kept == address.subscriptions[NAMES[0]]


async def test_every_forged_variant_is_refused_without_a_stored_body(place: Place) -> None:
    address, other, body = await place.address(), await place.address(), body_of()
    good = address.headers(body)
    signature = good["X-PCO-Webhooks-Authenticity"]

    def signed(value: str | bytes) -> Any:
        return good | {"X-PCO-Webhooks-Authenticity": value}

    variants: dict[str, tuple[dict[str, Any], Any, int]] = {
        "signature over other bytes": (good, body + b" ", 401),
        "another church's secret": (address.headers(body, secret=other.secrets[NAMES[1]]), body, 401),
        "truncated body": (good, body[:-1], 401),
        "truncated signature": (signed(signature[:-1]), body, 401),
        "longer signature": (signed(signature + "0"), body, 401),
        "upper case": (signed(signature.upper()), body, 401),
        "empty signature": (signed(""), body, 401),
        "no ASCII": (signed(b"\xe9" * 64), body, 401),
        "no signature": ({"X-PCO-Webhooks-Name": NAMES[1]}, body, 401),
        "empty body": (good, b"", 401),
        "gzip": (good | {"Content-Encoding": "gzip"}, gzip.compress(body), 415),
        "gzip of a signed body": (
            address.headers(gzip.compress(body)) | {"Content-Encoding": "gzip"},
            gzip.compress(body),
            415,
        ),
        "more than 1 MiB": (address.headers(big := b" " * (1024 * 1024 + 1)), big, 413),
    }
    for name, (headers, content, status) in variants.items():
        answer = await place.client.post(address.path, content=content, headers=headers)
        assert answer.status_code == status, (name, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        assert address.key not in answer.text
    assert await place.rows(address) == []
    assert await place.bodies(address) == [], NO_LOGS


@pytest.mark.parametrize("head", ["Content-Length: 104857600", "Transfer-Encoding: chunked"])
async def test_a_body_without_end_is_refused_before_it_ends(place: Place, head: str) -> None:
    address = await place.address()
    reader, writer = await asyncio.open_connection(place.client.base_url.host, place.client.base_url.port)
    lines = [f"POST {address.path} HTTP/1.1", "Host: here", *map(": ".join, address.headers(b"").items()), head, "", ""]
    writer.write("\r\n".join(lines).encode())
    answer = asyncio.create_task(reader.readuntil(b"\r\n\r\n"))
    while not answer.done():
        writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        await asyncio.wait({answer}, timeout=0.01)
    assert (await answer).startswith(b"HTTP/1.1 413")
    writer.close()
    assert await place.bodies(address) == [], NO_LOGS


async def test_only_a_retired_address_is_gone(place: Place) -> None:
    address, body = await place.address(), body_of()
    assert (await address.send(place.client, body)).status_code == 200
    for path in (f"/webhooks/pco/{address.key[:-1]}", f"{address.path}/", "/webhooks/pco/", "/webhooks/pco/a/b%2fc%ff"):
        answer = await place.client.post(path, content=body, headers=address.headers(body))
        assert (answer.status_code, answer.json()["detail"]) == (404, "There is nothing at this address.")
    retired = await place.address()
    await place.database.fetch("UPDATE webhook_key SET retired_at = now() WHERE id = $1", retired.id)
    assert (await retired.send(place.client, body)).status_code == 410
    for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert (await place.client.request(method, retired.path)).status_code == 405
    assert (await place.client.get(retired.path)).headers["allow"] == "POST"


async def test_a_retired_key_is_noticed_while_it_is_cached(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    address = await place.address()
    assert (await address.send(place.client, body_of())).status_code == 200
    await place.database.fetch("UPDATE webhook_key SET retired_at = now() WHERE id = $1", address.id)
    assert (await address.send(place.client, body_of())).status_code == 200, "a cached key is not looked up"
    monkeypatch.setattr(keys_in_use, "FRESH_SECONDS", 0.0)
    assert (await address.send(place.client, body_of())).status_code == 410


async def test_old_and_new_secrets_are_good_during_a_rotation(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    address = await place.address()
    old = address.secrets[NAMES[1]]
    assert (await address.send(place.client, body_of())).status_code == 200
    new = await rotate(place.database, place.vault, address, NAMES[1], until=NOW + timedelta(hours=1))
    monkeypatch.setattr(keys_in_use, "RELOAD_SECONDS", 0.0)
    assert (await address.send(place.client, body_of(), secret=new)).status_code == 200, "read again before a 401"
    assert (await address.send(place.client, body_of(), secret=old)).status_code == 200
    place.clock.advance(timedelta(hours=1))
    assert (await address.send(place.client, body_of(), secret=old)).status_code == 401
    assert (await address.send(place.client, body_of(), secret=new)).status_code == 200


async def test_a_secret_that_cannot_be_decrypted_costs_the_others_nothing(place: Place) -> None:
    address = await place.address()
    await place.database.fetch(
        "UPDATE webhook_subscription SET sealed_secret = $2 WHERE id = $1",
        address.subscriptions[NAMES[0]],
        Vault([Fernet.generate_key().decode()]).seal("other", row=str(address.subscriptions[NAMES[0]])),
    )
    assert (await address.send(place.client, body_of(), name=NAMES[0], secret="other")).status_code == 401
    assert (await address.send(place.client, body_of())).status_code == 200


async def test_several_deliveries_in_one_body_are_each_for_themselves(place: Place) -> None:
    address, seen = await place.address(), str(uuid4())
    body = body_of(
        delivery(delivery_id=seen),
        delivery(organization="10"),
        delivery(resource_id="a\x00b"),
        delivery(delivery_id=seen),
        delivery(
            resource_type="Email", resource_id="5", relationships={"person": {"data": {"type": "Person", "id": "8"}}}
        ),
    )
    assert (await address.send(place.client, body)).status_code == 200
    rows = await place.rows(address)
    assert [(row["position"], row["state"], row["outcome"], row["sentence"]) for row in rows] == [
        (0, "waiting", None, None),
        (1, "failed", "unreadable", envelope.ANOTHER_ORGANIZATION),
        (2, "failed", "unreadable", envelope.NO_RECORD),
        (4, "waiting", None, None),
    ]
    assert rows[3]["person_id"] == "8"
    assert [fact["version"] for fact in await place.facts(address)] == [rows[0]["id"], rows[3]["id"]]
    assert len(await place.bodies(address)) == 1


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"\xff\xfe", b"\x00", b"[" * 500_000, b'{"data": []}', b'{"data": [{}]}', b"1" * 10_000]
)
async def test_a_signed_body_of_nonsense_is_acknowledged_and_explained(place: Place, body: bytes) -> None:
    address = await place.address()
    for _ in range(2):
        assert (await address.send(place.client, body)).status_code == 200
    (row,) = await place.rows(address)
    assert (row["state"], row["outcome"], row["outcome_by"]) == ("failed", "unreadable", "webhook-gateway")
    assert row["sentence"].startswith("Planning Center")
    assert await place.facts(address) == []
    assert await place.bodies(address) == [body]


async def test_a_repeat_is_answered_and_dropped_by_every_replica_and_after_a_restart(place: Place) -> None:
    address, body = await place.address(), body_of()
    async with serve(await place.make()) as second:
        answers = await asyncio.gather(*(address.send(client, body) for client in [place.client, second] * 20))
    async with serve(await place.make()) as third:
        answers.append(await address.send(third, body))
    assert {answer.status_code for answer in answers} == {200}
    assert len(await place.rows(address)) == len(await place.facts(address)) == 1
    assert await place.bodies(address) == [body], "a repeat's body is not stored"


async def test_the_same_delivery_to_another_generation_is_another_one(place: Place) -> None:
    first = await place.address()
    second = await place.address(organization_id=first.organization_id, generation=2)
    body = body_of()
    for address in (first, second):
        assert (await address.send(place.client, body)).status_code == 200
    assert [row["generation"] for row in await place.rows(first)] == [1, 2]


async def test_a_body_of_very_many_deliveries(place: Place) -> None:
    address = await place.address()
    body = body_of(*(delivery(resource_id=str(number)) for number in range(1, 1001)))
    assert (await address.send(place.client, body)).status_code == 200
    assert [int(row["resource_id"]) for row in await place.rows(address)] == list(range(1, 1001))
    assert len(await place.facts(address)) == 1000
    assert len(await place.bodies(address)) == 1


async def test_calls_that_arrive_together_share_transactions(place: Place) -> None:
    address = await place.address()
    before = await place.database.value("SELECT count(DISTINCT xmin::text) FROM delivery")
    answers = await asyncio.gather(*(address.send(place.client, body_of()) for _ in range(60)))
    assert {answer.status_code for answer in answers} == {200}
    assert len(await place.rows(address)) == 60
    after = await place.database.value("SELECT count(DISTINCT xmin::text) FROM delivery")
    assert after - before < 50


async def test_refused_calls_are_counted_with_a_sample(place: Place) -> None:
    address, body = await place.address(), body_of()
    wrong = address.headers(body, secret="wrong") | {"Content-Type": "Text/Plain; name=Anna"}
    for _ in range(3):
        assert (await place.client.post(address.path, content=body, headers=wrong)).status_code == 401

    async def counted() -> Any:
        return await place.database.fetch(
            "SELECT * FROM refused_call WHERE organization_id = $1", address.organization_id
        )

    (row,) = await eventually(counted)
    assert (row["hour"], row["reason"], row["count"]) == (NOW, "not signed", 3)
    assert row["sample"] == {"bytes": len(body), "content_type": "text/plain"}


async def test_the_key_is_kept_as_a_hash_alone(place: Place) -> None:
    address = await place.address()
    assert (await address.send(place.client, body_of())).status_code == 200
    assert (await place.client.operators.get("/readyz")).status_code == 200  # type: ignore[attr-defined]
    metrics = (await place.client.operators.get("/metrics")).text  # type: ignore[attr-defined]
    assert address.key not in metrics
    assert address.key not in repr(await place.database.fetch("SELECT * FROM webhook_key"))
    assert key_hash(address.key) == await place.database.value(
        "SELECT key_hash FROM webhook_key WHERE id = $1", address.id
    )


async def test_secrets_are_put_under_a_new_key(databases: Databases, make_intake: Any) -> None:
    """With the new key alone the intake knows the same secrets; what has a lost key is left as it is, and told."""
    url, old, new = await databases.create("webhook_gateway"), Vault([SEALING]), Fernet.generate_key().decode()
    database = Database(url)
    address, lost = (
        await make_address(database, old),
        await make_address(database, Vault([Fernet.generate_key().decode()])),
    )
    until = datetime.now(UTC) + timedelta(days=1)
    before = [await rotate(database, old, address, NAMES[1], until=until), address.secrets[NAMES[1]]]
    both: FastAPI = await make_intake(database_url=url, webhook_encryption_keys=f"{new},{SEALING}")
    with pytest.raises(SystemExit) as ended:
        await reencrypt(both.state.runtime.settings)
    assert ended.value.code == 1
    async with serve(await make_intake(database_url=url, webhook_encryption_keys=new)) as client:
        for secret in before:
            assert (await address.send(client, body_of(), secret=secret)).status_code == 200
        assert (await lost.send(client, body_of())).status_code == 401
    [key] = await database.fetch("SELECT * FROM webhook_key WHERE id = $1", address.id)
    assert Vault([new]).open(key["sealed_key"], row=f"{address.organization_id}/people/1") == address.key
    async with make_sessions(both.state.runtime.engine, "webhook-gateway").begin() as session:
        await retire(session, lost.organization_id, "people", up_to=1, now=datetime.now(UTC))
    await reencrypt(both.state.runtime.settings)
    await both.state.runtime.engine.dispose()
