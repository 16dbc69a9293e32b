"""The edge of HTTP: who may ask, what is refused and how, and that an answer is never ahead of its commit."""

import asyncio
import base64
import json
import time
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from joserfc.jwk import OKPKey
from sqlalchemy import text

from contracts.topics import TOPICS
from servicekit.kafka import consumers
from servicekit.testing import Databases, KeyRing, Served, assert_migrated, assert_wiring, eventually, serve

pytestmark = pytest.mark.asyncio(loop_scope="session")
SERVICE = "people-sync"


@pytest_asyncio.fixture(loop_scope="session")
async def admin(keys: KeyRing) -> dict[str, str]:
    return keys.user_headers(SERVICE, organization_id="org-http")


def assert_problem(answer: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    document: dict[str, Any] = answer.json()
    assert document["type"] == f"/problems/{slug}"
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    assert document["instance"] == UUID(answer.headers["X-Correlation-ID"]).urn
    assert answer.headers["Cache-Control"] == "no-store"
    return document


async def test_wiring_and_migrations(app: FastAPI) -> None:
    from sample_service.main import Base  # noqa: PLC0415

    others = {name for name, topic in TOPICS.items() if SERVICE in topic.consumers} - {"auth.connection.v1"}
    assert_wiring(app, SERVICE, not_yet=others)
    with pytest.raises(AssertionError):
        assert_wiring(app, SERVICE)
    with pytest.raises(AssertionError):
        assert_wiring(app, SERVICE, not_yet={*others, "auth.connection.v1"})
    await assert_migrated(app.state.runtime.settings.database_url.get_secret_value(), Base.metadata)


async def test_a_signed_in_user_writes_and_reads(client: httpx.AsyncClient, admin: dict[str, str]) -> None:
    answer = await client.put("/notes/a", json={"text": "one"}, headers=admin)
    assert answer.json() == {"version": 1}
    assert answer.headers["Cache-Control"] == "no-store"
    assert (await client.get("/notes/a", headers=admin)).json() == {"text": "one", "version": 1}


async def test_only_an_opaque_correlation_id_is_taken_and_no_path_is_echoed(
    client: httpx.AsyncClient, admin: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    taken = (str(uuid4()), uuid4().hex, uuid4().hex.upper())
    for own in taken:
        answer = await client.get("/notes/none", headers=admin | {"X-Correlation-ID": own})
        assert answer.headers["X-Correlation-ID"] == own
    for name in ("anna-moreno", "Anna.Moreno_1990", "a" * 31, "0" * 33, "12345678", f"{uuid4()}."):
        answer = await client.get("/notes/none", headers=admin | {"X-Correlation-ID": name})
        given = answer.headers["X-Correlation-ID"]
        assert UUID(given)
        assert name not in answer.text + caplog.text
    for path in ("/notes/pasted-secret", "/nowhere/pasted-secret?token=pasted-secret", "/notes/pasted-secret/"):
        answer = await client.get(path, headers=admin | {"Host": "elsewhere.example"})
        assert_problem(answer, 404, "not-found")
        assert "pasted-secret" not in answer.text + caplog.text
        assert "elsewhere" not in str(answer.headers)
    answer = await client.request("ANNA", "/notes/none", headers=admin)
    assert answer.status_code == 405
    assert "ANNA" not in (await client.operators.get("/metrics")).text + caplog.text  # type: ignore[attr-defined]


async def test_the_organization_comes_from_the_token_alone(
    client: httpx.AsyncClient, keys: KeyRing, admin: dict[str, str]
) -> None:
    await client.put("/notes/b", json={"text": "ours"}, headers=admin)
    answer = await client.get("/notes/b", headers=keys.user_headers(SERVICE, organization_id="other"))
    assert_problem(answer, 404, "not-found")
    assert "ours" not in answer.text


async def test_tokens_that_prove_nothing(client: httpx.AsyncClient, keys: KeyRing) -> None:
    def encoded(part: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()

    now = int(time.time())
    good = keys.user_token(SERVICE)
    header, payload, signature = good.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    stranger = KeyRing()  # the same names, other keys
    forged_public = OKPKey.generate_key("Ed25519").as_dict(private=False)
    embedded = encoded({"alg": "EdDSA", "jwk": forged_public, "kid": "webhook-gateway"})
    tokens = {
        "expired": keys.user_token(SERVICE, iat=now - 120, nbf=now - 120, exp=now - 60),
        "not yet": keys.user_token(SERVICE, nbf=now + 60),
        "too long": keys.user_token(SERVICE, exp=now + 3600),
        "no end": ".".join([header, encoded({k: v for k, v in claims.items() if k != "exp"}), signature]),
        "other audience": keys.user_token("conflict-service"),
        "wrong key": stranger.user_token(SERVICE),
        "other issuer": keys.user_token(SERVICE, iss="auth-service"),
        "another service's key": keys.service_token("auth-service", SERVICE),
        "alg none": f"{encoded({'alg': 'none', 'kid': 'webhook-gateway'})}.{payload}.",
        "alg none, signed": f"{encoded({'alg': 'none', 'kid': 'webhook-gateway'})}.{payload}.{signature}",
        "HS256 with the public key": f"{encoded({'alg': 'HS256', 'kid': 'webhook-gateway'})}.{payload}.{signature}",
        "key in the header": f"{embedded}.{payload}.{signature}",
        "no kid": f"{encoded({'alg': 'EdDSA'})}.{payload}.{signature}",
        "changed claims": f"{header}.{encoded(claims | {'organization_id': 'other'})}.{signature}",
        "nonsense": "nonsense",
        "not text": "\xff\xfe",
    }
    assert (await client.get("/notes/none", headers={"Authorization": f"Bearer {good}"})).status_code == 404
    for name, token in tokens.items():
        answer = await client.get("/notes/a", headers={b"Authorization": b"Bearer " + token.encode("latin-1")})
        assert answer.status_code == 401, f"{name}: {answer.status_code} {answer.text}"
        assert_problem(answer, 401, "unauthorized")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert_problem(await client.get("/notes/a"), 401, "unauthorized")
    assert_problem(await client.get("/notes/a", headers={"Authorization": f"Basic {good}"}), 401, "unauthorized")


async def test_a_little_clock_skew_is_allowed(client: httpx.AsyncClient, keys: KeyRing) -> None:
    now = int(time.time())
    token = keys.user_token(SERVICE, iat=now + 3, nbf=now + 3, exp=now + 63)
    assert (await client.get("/notes/none", headers={"Authorization": f"Bearer {token}"})).status_code == 404


async def test_staff_may_not_do_an_admins_work(client: httpx.AsyncClient, keys: KeyRing) -> None:
    answer = await client.post("/runs", headers=keys.user_headers(SERVICE, roles=("staff",)))
    assert_problem(answer, 403, "forbidden")


async def test_without_a_role_nothing_is_read(client: httpx.AsyncClient, keys: KeyRing) -> None:
    answer = await client.get("/notes/none", headers=keys.user_headers(SERVICE, roles=()))
    assert_problem(answer, 403, "forbidden")


async def test_services_ask_in_their_own_name(client: httpx.AsyncClient, keys: KeyRing) -> None:
    def ask(token: str) -> Any:
        return client.get("/lease", headers={"Authorization": f"Bearer {token}"})

    assert (await ask(keys.service_token("auth-service", SERVICE))).json() == {"caller": "auth-service"}
    assert_problem(await ask(keys.service_token("conflict-service", SERVICE)), 401, "unauthorized")
    assert_problem(await ask(keys.service_token("auth-service", SERVICE, sub="calendar-sync")), 401, "unauthorized")
    assert_problem(await ask(keys.user_token(SERVICE)), 401, "unauthorized")


async def test_a_person_named_like_a_service_is_not_that_service(client: httpx.AsyncClient, keys: KeyRing) -> None:
    def ask(path: str, token: str) -> Any:
        return client.get(path, headers={"Authorization": f"Bearer {token}"})

    named = keys.user_token(SERVICE, user_id="webhook-gateway")
    assert (await ask("/notes/none", named)).status_code == 404, "a person may be called so"
    assert_problem(await ask("/lease", named), 401, "unauthorized")
    gateway = keys.service_token("webhook-gateway", SERVICE)
    assert (await ask("/lease", gateway)).json() == {"caller": "webhook-gateway"}
    about: dict[str, Any] = {"user_id": "ada", "name": "Ada", "organization_id": "o", "organization_name": "O"}
    posing = keys.service_token("webhook-gateway", SERVICE, **about, roles=["admin"])
    for path, token in [
        ("/notes/none", posing),
        ("/notes/none", keys.user_token(SERVICE, kind="JWT")),
        ("/lease", keys.service_token("auth-service", SERVICE, kind="JWT")),
    ]:
        assert_problem(await ask(path, token), 401, "unauthorized")


async def test_bodies_that_are_refused(client: httpx.AsyncClient, admin: dict[str, str]) -> None:
    async def put(content: bytes, path: str = "/notes/c") -> httpx.Response:
        return await client.put(path, content=content, headers=admin | {"Content-Type": "application/json"})

    assert_problem(await put(b'{"text": '), 400, "malformed-request")
    assert_problem(await put(b"\xff\xfe"), 400, "malformed-request")
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"):
        assert_problem(await put('{"text": "a"}'.encode(encoding)), 400, "malformed-request")
    assert_problem(await put(b'{"text": "\xed\xa0\x80"}'), 400, "malformed-request")
    document = assert_problem(await put(b'{"text": "\xe4"}'), 400, "malformed-request")
    assert document["detail"] == "The body is not valid UTF-8: send JSON in UTF-8."
    document = assert_problem(await put(b"[" * 100_000), 400, "malformed-request")
    assert document["detail"] == "The body is nested too deeply: send it flatter."
    document = assert_problem(await put(b'{"text": 5}'), 422, "invalid")
    assert document["errors"] == [{"field": "body.text", "message": "Send text."}]
    document = assert_problem(await put(b"[]"), 422, "invalid")
    assert document["errors"] == [{"field": "body", "message": "Send an object."}]
    assert_problem(await put(b""), 422, "invalid")
    for text_, field in (
        (rb'{"text": "a\u0000b"}', "body.text"),
        (rb'{"text": "\ud800"}', "body.text"),
        (rb'{"text": "a", "more": [{"x": "\u0000"}]}', "body.more.0.x"),
        (rb'{"text": "a", "extra": {"\u0000": 1}}', "body.extra"),
    ):
        document = assert_problem(await put(text_), 422, "invalid")
        message = "holds a character that does not exist: write it again"
        assert document["errors"] == [{"field": field, "message": message}]
    assert (await put(rb'{"text": "\ud83d\ude00 \\u0000 stays"}')).status_code == 200
    assert_problem(await put(b"{}", path="/notes/%00"), 422, "invalid")
    assert (await put(b'{"text": "a"}', path="/notes/%ff")).status_code < 500


@pytest.mark.parametrize(
    "kind", [None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "nonsense"]
)
async def test_a_body_that_is_not_called_json(
    client: httpx.AsyncClient, admin: dict[str, str], kind: str | None
) -> None:
    headers = admin | ({} if kind is None else {"Content-Type": kind})
    answer = await client.put("/notes/c", content=b'{"text": "a"}', headers=headers)
    document = assert_problem(answer, 415, "unsupported-media-type")
    assert "`Content-Type: application/json`" in document["detail"]
    unknown = await client.put("/notes/c", content=b'{"text": "a"}', headers={"Content-Type": "text/plain"})
    assert_problem(unknown, 401, "unauthorized")
    assert (await client.post("/runs", content=b"unread", headers=headers)).status_code == 202


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "application/vnd.api+json"])
async def test_a_body_that_is_called_json(client: httpx.AsyncClient, admin: dict[str, str], kind: str) -> None:
    answer = await client.put("/notes/c", content=b'{"text": "a"}', headers=admin | {"Content-Type": kind})
    assert answer.status_code == 200


async def test_oversized_bodies(client: httpx.AsyncClient, admin: dict[str, str]) -> None:
    admin = admin | {"Content-Type": "application/json"}
    big = json.dumps({"text": "x" * 1024 * 1024}).encode()
    assert_problem(await client.put("/notes/d", content=big, headers=admin), 413, "too-large")

    async def unannounced() -> Any:
        for _ in range(20):
            yield b"x" * 100_000

    assert_problem(await client.put("/notes/d", content=unannounced(), headers=admin), 413, "too-large")
    assert (await client.put("/notes/d/long", content=big, headers=admin)).status_code == 200  # a limit of its own
    assert_problem(await client.put("/notes/d/long", content=big * 3, headers=admin), 413, "too-large")


class Sender:
    """A caller who sends a body piece by piece."""

    def __init__(self, client: httpx.AsyncClient, headers: dict[str, str], address: str = "PUT /notes/h/long") -> None:
        lines = [f"{name}: {value}" for name, value in {**headers, "Content-Type": "application/json"}.items()]
        self._head = "\r\n".join([f"{address} HTTP/1.1", "Host: x", *lines, "Content-Length: 1500002", "", ""]).encode()
        self._at = client.base_url.host, client.base_url.port
        self.writer: asyncio.StreamWriter

    async def begin(self) -> asyncio.StreamReader:
        reader, self.writer = await asyncio.open_connection(*self._at)
        self.writer.write(self._head)
        return reader


async def answer_of(reader: asyncio.StreamReader) -> tuple[bytes, dict[str, Any]]:
    """Head and document."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length"))
    document: dict[str, Any] = json.loads(await reader.readexactly(int(length.partition(b":")[2])))
    return head, document


async def test_an_unauthenticated_caller_is_answered_before_the_body_is_read(
    client: httpx.AsyncClient, keys: KeyRing
) -> None:
    stranger = {"Authorization": f"Bearer {KeyRing().user_token(SERVICE)}"}
    for headers, address, status in (
        ({}, "PUT /notes/h/long", 401),
        (stranger, "PUT /notes/h/long", 401),
        ({}, "PUT /nowhere", 404),
        ({}, "PUT /notes/h/longer", 404),
        ({}, "POST /notes/h/long", 405),
    ):
        sender = Sender(client, headers, address)
        _, document = await answer_of(await sender.begin())
        sender.writer.close()
        assert document["status"] == status, address


async def test_bodies_have_a_deadline_and_a_budget(
    databases: Databases, kafka_server: str, keys: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sample_service.main import Settings, create_app  # noqa: PLC0415

    monkeypatch.setattr("servicekit.http.intake.SLOWEST", 10**9)
    more = {"http_body_seconds": 1, "http_body_budget_bytes": 2 * 1024 * 1024}
    url = await databases.create("sample_service")
    app = create_app(keys.settings(Settings, database_url=url, kafka=kafka_server, **more))
    admin = keys.user_headers(SERVICE)
    piece = b'"' + b"x" * 1_400_000
    async with serve(app, ready=False) as client:
        slow, late = Sender(client, admin), Sender(client, admin)
        answers = [await sender.begin() for sender in (slow, late)]
        slow.writer.write(piece)
        budget = app.state.bodies.budget
        await eventually(lambda: budget.free < 700_000)  # the first one's piece is held
        late.writer.write(piece)
        head, document = await answer_of(answers[1])
        assert (document["status"], document["type"]) == (503, "/problems/unavailable")
        assert b"retry-after: 5" in head
        _, document = await answer_of(answers[0])
        assert (document["status"], document["type"]) == (408, "/problems/too-slow")
        for sender in (slow, late):
            sender.writer.close()
        await eventually(lambda: budget.free == 2 * 1024 * 1024)
        whole = json.dumps({"text": "x" * 1_500_000})
        answer = await client.put("/notes/h/long", content=whole, headers=admin | {"Content-Type": "application/json"})
        assert answer.status_code == 200


async def test_a_caller_who_disconnects_causes_no_error(
    client: httpx.AsyncClient, admin: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    lines = [f"{name}: {value}" for name, value in admin.items()]
    head = "\r\n".join(["PUT /notes/g HTTP/1.1", "Host: x", *lines, "Content-Length: 100", "", "{"])
    _, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    writer.write(head.encode())
    await writer.drain()
    await asyncio.sleep(0.1)
    writer.close()
    await eventually(lambda: "status=499" in caplog.text)
    assert "unexpected error" not in caplog.text


async def test_addresses_that_do_not_exist(client: httpx.AsyncClient) -> None:
    assert_problem(await client.get("/nowhere"), 404, "not-found")
    answer = await client.delete("/notes/a")
    assert_problem(answer, 405, "method-not-allowed")
    assert answer.headers["Allow"] == "GET, PUT"
    assert (await client.put("/runs", json={})).headers["Allow"] == "POST"


async def test_an_unexpected_error_tells_nothing_and_keeps_nothing(
    client: httpx.AsyncClient, app: FastAPI, admin: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    answer = await client.put("/notes/e/broken", json={"text": "x"}, headers=admin)
    document = assert_problem(answer, 500, "internal-error")
    assert "anna" not in answer.text
    assert document["correlation_id"] == answer.headers["X-Correlation-ID"]
    assert document["correlation_id"] in caplog.text
    assert (await client.get("/notes/e", headers=admin)).status_code == 404
    async with app.state.runtime.sessions() as session:
        count = "SELECT count(*) FROM outbox WHERE key = 'e'"
        assert await session.scalar(text(count)) == 0


async def test_an_answer_is_never_ahead_of_its_commit(client: httpx.AsyncClient, admin: dict[str, str]) -> None:
    """A deferred constraint fails in the commit itself; an answer sent before it would say 200."""
    answer = await client.put("/notes/orphan/deferred", json={"text": "x"}, headers=admin)
    assert_problem(answer, 500, "internal-error")
    for number in range(50):  # what an answer has promised, the next connection sees
        await client.put(f"/notes/f{number}", json={"text": "x"}, headers=admin)
        assert (await client.get(f"/notes/f{number}", headers=admin)).status_code == 200


async def test_readiness_reuses_its_connection_to_kafka(client: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    monkeypatch.setattr(consumers, "AIOKafkaClient", lambda **_: made.append(1))
    answers = [await client.operators.get("/readyz") for _ in range(5)]
    assert {answer.status_code for answer in answers} == {200}
    assert made == []


async def test_a_read_ends_with_its_caller(
    client: httpx.AsyncClient, app: FastAPI, admin: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL goes on with no query for which nobody waits any more; a write has no such limit."""
    runtime = app.state.runtime
    hasty = replace(runtime, settings=runtime.settings.model_copy(update={"database_read_seconds": 0.05}))
    monkeypatch.setattr(app.state, "runtime", hasty)
    async with runtime.engine.begin() as other:
        await other.execute(text("LOCK TABLE note"))
        assert_problem(await client.get("/notes/a", headers=admin), 503, "read-too-slow")
        written = asyncio.create_task(client.put("/notes/late", json={"text": "x"}, headers=admin))
        assert_problem(await client.get("/notes/a", headers=admin), 503, "read-too-slow")
        assert not written.done()
    assert (await written).status_code == 200


async def test_health_and_metrics_are_the_operators(client: Served, admin: dict[str, str]) -> None:
    assert (await client.get("/livez")).json() == {"status": "ok"}
    for path in ("/readyz", "/metrics", "/readyz/", "//metrics"):
        assert_problem(await client.get(path, headers=admin), 404, "not-found")
    assert (await client.operators.get("/livez")).json() == {"status": "ok", "silent": {}}
    assert (await client.operators.get("/readyz")).json() == {"status": "ok", "failing": {}}
    for path in ("/", "/notes/x", "/livez/", "/openapi.json"):
        assert (await client.operators.get(path, headers=admin)).status_code == 404
    metrics = (await client.operators.get("/metrics")).text
    assert 'servicekit_http_seconds_count{method="GET",route="/livez",status="200"}' in metrics
    assert "servicekit_outbox_age_seconds" in metrics
