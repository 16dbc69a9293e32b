"""The platform API: authentication, forwarding, and answers while an owner is away."""

import asyncio
import base64
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
import pytest_asyncio
from cryptography.fernet import Fernet
from fastapi import Request
from fastapi.responses import JSONResponse, Response
from joserfc.jwk import ECKey, OctKey, RSAKey

from contracts.routes import ROUTES
from contracts.values import WEBHOOK_GATEWAY
from servicekit.http.auth import Verifier
from servicekit.testing import KeyRing, eventually, serve
from servicekit.testing.wiring import endpoints
from webhook_gateway.config import Settings


@pytest_asyncio.fixture(loop_scope="session")
async def gateway(make_gateway: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with serve(await make_gateway(), ready=False) as client:
        yield client


def unsigned(provider: Any) -> str:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    payload = provider.token().split(".")[1]
    return f"{part({'alg': 'none', 'kid': provider.key.kid})}.{payload}."


def confused(provider: Any) -> str:
    """A token signed with the provider's public key as if it were a shared secret."""
    from joserfc import jwt  # noqa: PLC0415

    public = json.dumps(provider.key.as_dict(private=False)).encode()
    claims = json.loads(base64.urlsafe_b64decode(provider.token().split(".")[1] + "=="))
    return jwt.encode(
        {"alg": "HS256", "kid": provider.key.kid}, claims, OctKey.import_key(public), algorithms=["HS256"]
    )


STRANGER = ECKey.generate_key("P-256", {"kid": "one"})
BAD_TOKENS = {
    "expired": lambda provider: provider.token(exp=int(time.time()) - 60),
    "not yet": lambda provider: provider.token(nbf=int(time.time()) + 600),
    "no expiry": lambda provider: provider.token(exp=None),
    "wrong key": lambda provider: provider.token(key=STRANGER),
    "unknown key": lambda provider: provider.token(key=ECKey.generate_key("P-256", {"kid": "two"})),
    "no kid": lambda provider: provider.token(kid=None),
    "other issuer": lambda provider: provider.token(iss="https://elsewhere.example"),
    "ID token of the console": lambda provider: provider.token(aud="console", typ="JWT"),
    "ID token for both": lambda provider: provider.token(aud=["console", "church-platform"], typ="JWT", nonce="n"),
    "no kind": lambda provider: provider.token(typ=None),
    "kind of our services": lambda provider: provider.token(typ="user+jwt"),
    "other audience": lambda provider: provider.token(aud="another-api"),
    "no organization": lambda provider: provider.token(organization_id=None),
    "organization is a list": lambda provider: provider.token(organization_id=["org-1"]),
    "alg none": unsigned,
    "alg confusion": confused,
    "nonsense": lambda _: "nonsense",
    "huge": lambda provider: provider.token(padding="x" * 20_000),
}


@pytest.mark.parametrize("name", BAD_TOKENS)
async def test_a_bad_token_is_a_401_problem(gateway: httpx.AsyncClient, provider: Any, owner: Any, name: str) -> None:
    token = str(BAD_TOKENS[name](provider))  # type: ignore[no-untyped-call]
    answer = await gateway.get("/api/v1/people/status", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "sign in again" in answer.json()["detail"]
    assert owner.requests == []


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer"}])
async def test_no_token_is_a_401_problem(gateway: httpx.AsyncClient, owner: Any, headers: dict[str, str]) -> None:
    answer = await gateway.get("/api/v1/people/status", headers=headers)
    assert answer.status_code == 401
    assert answer.json()["status"] == 401
    assert owner.requests == []


async def test_every_route_asks_for_a_token_and_reaches_its_owner(
    gateway: httpx.AsyncClient, provider: Any, owner: Any
) -> None:
    for route in (route for route in ROUTES if route.owner != WEBHOOK_GATEWAY):
        path = route.path.replace("{", "").replace("}", "")
        assert (await gateway.request(route.method, path)).status_code == 401, route
        answer = await gateway.request(route.method, path, headers=provider.headers())
        assert answer.json() == {"from": "owner"}, route
        assert (owner.requests[-1].method, owner.requests[-1].path) == (route.method, path)


async def test_the_owner_learns_who_asks_from_a_signed_identity(
    gateway: httpx.AsyncClient, provider: Any, owner: Any, keys: KeyRing
) -> None:
    await gateway.get("/api/v1/people/status", headers=provider.headers(roles=["staff", "choir"]))
    token = owner.requests[-1].headers["authorization"].removeprefix("Bearer ")

    class People(Settings):
        service_name = "people-sync"

    verifier = Verifier(keys.settings(People, database_url="postgresql+asyncpg://x/y", kafka="x", **_owned()))
    claims = verifier.verify(token, "user+jwt", signers={"webhook-gateway"})
    assert claims["sub"] == "ada"
    assert claims["organization_id"] == "org-1"
    assert claims["roles"] == ["staff"]
    assert claims["exp"] - claims["iat"] == 60


def _owned() -> dict[str, str]:
    names = ("auth_service_url", "people_sync_url", "conflict_service_url", "calendar_sync_url")
    addresses = dict.fromkeys((*names, "identity_issuer", "identity_jwks_url"), "http://localhost:1")
    key = Fernet.generate_key().decode()
    return addresses | {"identity_audience": "a", "console_client_id": "c", "webhook_encryption_keys": key}


async def test_only_agreed_headers_and_one_cookie_pass(gateway: httpx.AsyncClient, provider: Any, owner: Any) -> None:
    async def answer(_: Request) -> Response:
        response = JSONResponse({}, headers={"ETag": '"1"', "X-Secret": "inside", "Server-Timing": "db"})
        response.set_cookie("pco_attempt", "bound", httponly=True, samesite="lax")
        response.set_cookie("session", "internal")
        return response

    owner.answer = answer
    sent = provider.headers() | {
        "X-Organization-Id": "org-2",
        "X-Forwarded-User": "mallory",
        "Cookie": "pco_attempt=bound; other=1",
        "Accept-Language": "de",
        "If-None-Match": '"0"',
        "X-Correlation-ID": "0af7651916cd43dd8448eb211c80319c",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
    received = await gateway.post("/api/v1/connections/people/authorize", headers=sent, content=b"{}")
    asked = owner.requests[-1].headers
    assert asked["cookie"] == "pco_attempt=bound"
    assert asked["accept-language"] == "de"
    assert asked["if-none-match"] == '"0"'
    assert asked["x-correlation-id"] == "0af7651916cd43dd8448eb211c80319c"
    assert asked["traceparent"].startswith("00-0af7651916cd43dd8448eb211c80319c-")
    assert not {"x-organization-id", "x-forwarded-user"} & asked.keys()
    assert "ada" not in asked.get("user-agent", "")
    assert received.headers["etag"] == '"1"'
    assert not {"x-secret", "server-timing"} & received.headers.keys()
    assert [line.split("=")[0] for line in received.headers.get_list("set-cookie")] == ["pco_attempt"]
    assert received.headers["x-correlation-id"] == "0af7651916cd43dd8448eb211c80319c"


async def test_a_cookie_of_one_browser_reaches_no_other(make_gateway: Any, provider: Any, owner: Any) -> None:
    async def answer(request: Request) -> Response:
        response = JSONResponse({})
        response.set_cookie("pco_attempt", f"attempt-{len(owner.requests)}", path="/api/v1/connections")
        return response

    owner.answer = answer
    async with (
        serve(await make_gateway(), ready=False) as first,
        httpx.AsyncClient(base_url=first.base_url) as second,
    ):
        begun = await first.post("/api/v1/connections/people/authorize", headers=provider.headers(), content=b"{}")
        assert begun.cookies["pco_attempt"] == "attempt-1"
        other = provider.headers(sub="sam", organization_id="org-2")
        await second.post("/api/v1/connections/people/authorize", headers=other, content=b"{}")
        assert "cookie" not in owner.requests[-1].headers
        # A browser without the attempt's cookie cannot finish the attempt.
        second.cookies.clear()
        await second.post("/api/v1/connections/complete", headers=other, content=b"{}")
        assert "cookie" not in owner.requests[-1].headers
        await first.post("/api/v1/connections/complete", headers=provider.headers(), content=b"{}")
        assert owner.requests[-1].headers["cookie"] == "pco_attempt=attempt-1"


@pytest.mark.parametrize("cookie", ['pco_attempt="\\012X-Evil: 1"', 'pco_attempt="a\\073 b=c"', "pco_attempt=\xe4"])
async def test_a_foreign_attempt_cookie_does_not_pass(
    gateway: httpx.AsyncClient, provider: Any, owner: Any, cookie: str
) -> None:
    odd = {"Cookie": cookie.encode("latin-1"), "Accept-Language": b"\xe4"}
    headers = provider.headers() | odd
    answer = await gateway.post("/api/v1/connections/people/authorize", headers=headers)
    assert answer.json() == {"from": "owner"}
    assert "cookie" not in owner.requests[-1].headers
    assert owner.requests[-1].headers["accept-language"] == "\xe4"


async def test_bodies_queries_and_answers_pass_unchanged(gateway: httpx.AsyncClient, provider: Any, owner: Any) -> None:
    async def answer(_: Request) -> Response:
        return Response(b'{"type":"/problems/x"}', 409, media_type="application/problem+json")

    owner.answer = answer
    received = await gateway.patch(
        "/api/v1/people/members/a%20b?x=%C3%A4&x=2&empty=",
        headers=provider.headers() | {"Content-Type": "application/json"},
        content=b'{"first_name": "unfinished',
    )
    asked = owner.requests[-1]
    assert asked.path == "/api/v1/people/members/a%20b"
    assert asked.body == b'{"first_name": "unfinished'
    assert asked.query == "x=%C3%A4&x=2&empty="
    assert (received.status_code, received.content) == (409, b'{"type":"/problems/x"}')
    assert received.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/people/members/%2e%2e",
        "/api/v1/people/members/..%2f..%2f..%2finternal",
        "/internal/v1/leases",
        "/api/v1/internal/v1/leases",
        "/api/v1/nothing",
        "/openapi.json",
        "/docs",
        "/redoc",
    ],
)
async def test_only_routes_of_the_table_are_reached(
    gateway: httpx.AsyncClient, provider: Any, owner: Any, path: str
) -> None:
    answer = await gateway.get(path, headers=provider.headers())
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert owner.requests == []


async def test_too_large_a_body_is_refused_by_the_routes_own_limit(
    gateway: httpx.AsyncClient, provider: Any, owner: Any
) -> None:
    two = b"x" * (2 * 1024 * 1024)
    answer = await gateway.post("/api/v1/people/members", headers=provider.headers(), content=two)
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert owner.requests == []

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield b"x" * (512 * 1024)

    streamed = await gateway.post("/api/v1/people/members", headers=provider.headers(), content=chunks())
    assert streamed.status_code == 413
    assert (await gateway.put("/api/v1/people/bulk", headers=provider.headers(), content=two)).status_code == 200
    assert len(owner.requests[-1].body) == len(two)


async def test_an_owner_that_is_away_is_named_in_plain_words(make_gateway: Any, provider: Any) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{closed.getsockname()[1]}"
    async with serve(await make_gateway(conflict_service_url=nowhere, people_sync_url=nowhere), ready=False) as client:
        read = await client.get("/api/v1/conflicts", headers=provider.headers())
        assert read.status_code == 503
        assert read.json()["detail"] == (
            "Conflicts can't be read right now. Nothing was lost. Try again in a few seconds."
        )
        assert int(read.headers["retry-after"]) > 0
        write = await client.post("/api/v1/people/runs", headers=provider.headers(), json={})
        assert write.status_code == 503
        assert "Nothing was changed" in write.json()["detail"]
        # The other owners answer.
        assert (await client.get("/api/v1/connections", headers=provider.headers())).status_code == 200


async def test_a_slow_owner_is_a_504_that_claims_nothing_about_a_change(
    make_gateway: Any, provider: Any, owner: Any
) -> None:
    release = asyncio.Event()

    async def answer(_: Request) -> Response:
        await release.wait()
        return JSONResponse({})

    owner.answer = answer
    async with serve(await make_gateway(owner_timeout_seconds=0.3), ready=False) as client:
        read = await client.get("/api/v1/people/status", headers=provider.headers())
        write = await client.post("/api/v1/people/runs", headers=provider.headers(), json={})
        release.set()
    assert (read.status_code, write.status_code) == (504, 504)
    assert "Nothing was lost" in read.json()["detail"]
    assert "may or may not have been made" in write.json()["detail"]
    # A change is never sent twice.
    assert [request.method for request in owner.requests] == ["GET", "POST"]


async def test_a_write_is_sent_again_only_with_a_key(make_gateway: Any, provider: Any) -> None:
    heads: list[str] = []

    async def serve_it(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        heads.append(head)
        if len(heads) == 3:  # otherwise the answer is lost
            writer.write(b"HTTP/1.1 202 Accepted\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}")
        writer.close()

    server = await asyncio.start_server(serve_it, "127.0.0.1", 0)
    owner = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, serve(await make_gateway(people_sync_url=owner), ready=False) as client:

        async def start(**headers: str) -> httpx.Response:
            return await client.post("/api/v1/people/runs", headers=provider.headers() | headers, json={})

        lost = await start()
        assert lost.status_code == 503
        assert "may or may not have been made" in lost.json()["detail"]
        assert "retry-after" not in lost.headers
        assert len(heads) == 1
        assert (await start(**{"Idempotency-Key": "key-1"})).status_code == 202
        assert ["idempotency-key: key-1" in head for head in heads] == [False, True, True]
        lost = await start(**{"Idempotency-Key": "key-2"})
        assert "is not made twice" in lost.json()["detail"]
        assert lost.headers["retry-after"]


async def test_a_hanging_owner_does_not_block_the_others(make_gateway: Any, provider: Any, owner: Any) -> None:
    release = asyncio.Event()

    async def answer(request: Request) -> Response:
        if request.url.path == "/api/v1/people/status":
            await release.wait()
        return JSONResponse({})

    owner.answer = answer
    async with (
        serve(await make_gateway(owner_timeout_seconds=120), ready=False) as client,
        httpx.AsyncClient(base_url=client.base_url, timeout=30, limits=httpx.Limits(max_connections=None)) as many,
    ):
        hanging = [many.get("/api/v1/people/status", headers=provider.headers()) for _ in range(150)]
        waiting = asyncio.gather(*hanging)
        await eventually(lambda: len(owner.requests) >= 100)
        async with asyncio.timeout(15):  # before any of them gives up
            assert (await client.get("/api/v1/connections", headers=provider.headers())).status_code == 200
        release.set()
        assert {answer.status_code for answer in await waiting} == {200}


async def test_a_new_key_of_the_provider_is_found_and_floods_do_not_reach_it(make_gateway: Any, provider: Any) -> None:
    rsa = RSAKey.generate_key(2048, {"kid": "rsa"})
    app = await make_gateway()
    async with serve(app, ready=False) as client:
        assert (await client.get("/api/v1/me", headers=provider.headers())).status_code == 200
        assert provider.reads == 1
        provider.published = [provider.key.as_dict(private=False), rsa.as_dict(private=False)]
        for _ in range(20):
            unknown = provider.token(key=ECKey.generate_key("P-256", {"kid": "unknown"}))
            assert (await client.get("/api/v1/me", headers={"Authorization": f"Bearer {unknown}"})).status_code == 401
        assert provider.reads <= 2
        app.state.resources.tokens._keys._reading.tried_at = float("-inf")  # the few seconds have passed
        token = provider.token(key=rsa)
        assert (await client.get("/api/v1/me", headers={"Authorization": f"Bearer {token}"})).status_code == 200
        # Known keys work without the provider.
        provider.away = True
        assert (await client.get("/api/v1/me", headers=provider.headers())).status_code == 200


async def test_without_any_keys_sign_ins_cannot_be_checked(make_gateway: Any, provider: Any) -> None:
    provider.away = True
    async with serve(await make_gateway(), ready=False) as client:
        answer = await client.get("/api/v1/me", headers=provider.headers())
    assert answer.status_code == 503
    assert "identity provider" in answer.json()["detail"]
    assert answer.headers["retry-after"] == "5"


async def test_the_gateways_own_routes(gateway: httpx.AsyncClient, provider: Any) -> None:
    me = await gateway.get("/api/v1/me", headers=provider.headers())
    assert me.headers["cache-control"] == "no-store"
    assert me.json()["user"] == {
        "user_id": "ada",
        "name": "Ada Moreno",
        "email": "ada@example.org",
        "organization_id": "org-1",
        "organization_name": "First Church",
        "roles": ["admin"],
    }
    settings = (await gateway.get("/api/v1/console-settings")).json()
    assert settings["authorization_endpoint"] == f"{provider.issuer}/authorize"
    assert settings["client_id"] == "console"


async def test_the_document_describes_every_route(gateway: httpx.AsyncClient) -> None:
    document = (await gateway.get("/api/v1/openapi.json")).json()
    for route in ROUTES:
        described = document["paths"][route.path][route.method.lower()]
        assert str(route.status) in described["responses"], route
        assert ("requestBody" in described) == (route.request is not None), route
        if route.query is not None:
            names = {parameter["name"] for parameter in described.get("parameters", ()) if parameter["in"] == "query"}
            assert names == set(route.query.model_fields), route
        shared = described["responses"]["401"]["$ref"].rpartition("/")[2]
        assert "application/problem+json" in document["components"]["responses"][shared]["content"]
        headers = {one["name"] for one in described.get("parameters", ()) if one["in"] == "header"}
        assert headers == ({"Idempotency-Key"} if route.method == "POST" else set()), route
        for status in ("400", "415"):
            assert (status in described["responses"]) == (route.request is not None), route
    assert {"/api/v1/me", "/api/v1/live", "/api/v1/console-settings"} <= document["paths"].keys()
    assert (await gateway.get("/api/v1/asyncapi.json")).json()["channels"]["people.record.v1"]["address"]


async def test_a_problem_leads_to_a_page_about_it(gateway: httpx.AsyncClient) -> None:
    problem = (await gateway.get("/api/v1/nothing")).json()
    page = await gateway.get(problem["type"])
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "unsafe" not in page.headers["content-security-policy"]
    assert "Read the list again" in page.text
    assert 'href="/problems/version-conflict"' in (await gateway.get("/problems")).text
    assert (await gateway.get("/problems/nonsense")).status_code == 404


async def test_the_document_shows_the_shape_of_bulk_records(gateway: httpx.AsyncClient) -> None:
    schemas = (await gateway.get("/api/v1/openapi.json")).json()["components"]["schemas"]
    for name, shown in (("members", "BulkMember"), ("families", "BulkFamily")):
        listed = schemas["BulkUpsert"]["properties"][name]
        assert listed["items"] == {"$ref": f"#/components/schemas/{shown}"}
        assert "an entry that is no object refuses the call" in listed["description"]
        assert "external_id" in schemas[shown]["required"]


async def test_an_unknown_method_gets_the_list_of_known_ones(gateway: httpx.AsyncClient, provider: Any) -> None:
    for path, methods in (
        ("/api/v1/people/members", "GET, POST"),
        ("/api/v1/people/members/one", "GET, PATCH, DELETE"),
        ("/api/v1/people/bulk", "PUT"),
        ("/api/v1/me", "GET"),
        ("/people", "GET, HEAD"),
    ):
        answer = await gateway.request("OPTIONS", path, headers=provider.headers())
        assert (answer.status_code, answer.headers["allow"]) == (405, methods), path


@pytest.mark.parametrize("public", ["http://localhost:8080", "https://sync.church.example"])
async def test_every_answer_is_for_this_origin_alone_and_by_https_for_good(
    make_gateway: Any, provider: Any, public: str
) -> None:
    async with serve(await make_gateway(public_url=public), ready=False) as client:
        paths = ("/", "/app.js", "/nowhere", "/livez", "/problems", "/api/v1/me", "/api/v1/people/status")
        answers = [await client.get(path, headers=provider.headers()) for path in paths]
        answers.append(await client.get("/api/v1/people/status"))
    for answer in answers:
        assert answer.headers["cross-origin-opener-policy"] == "same-origin", answer.url
        assert answer.headers["cross-origin-resource-policy"] == "same-origin", answer.url
        assert ("strict-transport-security" in answer.headers) == public.startswith("https:"), answer.url


async def test_the_cookie_of_https_passes_as_well(gateway: httpx.AsyncClient, provider: Any, owner: Any) -> None:
    async def answer(_: Request) -> Response:
        response = JSONResponse({})
        response.set_cookie("__Host-pco_attempt", "bound", path="/", secure=True, httponly=True)
        return response

    owner.answer = answer
    headers = provider.headers() | {"Cookie": "__Host-pco_attempt=bound; __Host-other=1"}
    received = await gateway.post("/api/v1/connections/people/authorize", headers=headers, content=b"{}")
    assert owner.requests[-1].headers["cookie"] == "__Host-pco_attempt=bound"
    assert received.headers["set-cookie"].startswith("__Host-pco_attempt=bound;")


async def test_the_console_is_served_strictly(gateway: httpx.AsyncClient, provider: Any) -> None:
    shell = await gateway.get("/people/some-id?state=linked")
    assert shell.status_code == 200
    assert shell.headers["content-type"] == "text/html; charset=utf-8"
    policy = shell.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'self'" in policy
    assert f"connect-src 'self' {provider.issuer}" in policy
    assert "frame-ancestors 'none'" in policy
    assert "require-trusted-types-for 'script'; trusted-types 'none'" in policy
    assert shell.headers["referrer-policy"] == "no-referrer"
    assert shell.headers["x-content-type-options"] == "nosniff"
    assert (await gateway.get("/oauth/callback?code=secret&state=x")).content == shell.content
    again = await gateway.get("/", headers={"If-None-Match": shell.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    script = await gateway.get("/app.js")
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert (await gateway.get("/types.d.ts")).status_code == 404
    assert (await gateway.get("/pages/../config.py")).status_code == 404


async def test_a_mistyped_address_is_answered_as_html_or_json(gateway: httpx.AsyncClient) -> None:
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    shell = await gateway.get("/", headers=browser)
    missing = await gateway.get("/integrationz", headers=browser)
    assert (missing.status_code, missing.content) == (404, shell.content)
    assert missing.headers["content-security-policy"] == shell.headers["content-security-policy"]
    for path, headers in (("/integrationz", {}), ("/api/v1/integrationz", browser)):
        answer = await gateway.get(path, headers=headers)
        assert answer.status_code == 404
        assert answer.json()["type"] == "/problems/not-found"


LIMITED = {"limit_user_per_minute": 3, "limit_organization_per_minute": 5, "limit_address_per_minute": 9}


def assert_limited(answer: httpx.Response, who: str) -> None:
    document = answer.json()
    assert (answer.status_code, document["type"]) == (429, "/problems/too-many-requests"), answer.text
    assert 1 <= int(answer.headers["retry-after"]) <= 20
    assert document["detail"].startswith(f"{who} sent too many requests")
    assert document["detail"].endswith(f"Try again in {answer.headers['retry-after']} seconds.")


async def test_users_organizations_and_addresses_have_limits(make_gateway: Any, provider: Any, owner: Any) -> None:
    # The tests' own connections come from the proxy, which names the caller last.
    app = await make_gateway(trusted_proxies="127.0.0.1", **LIMITED)
    async with serve(app, ready=False) as client:

        def ask(user: str, organization: str, address: str) -> Any:
            headers = provider.headers(sub=user, organization_id=organization)
            path = "/api/v1/people/status"
            return client.get(path, headers=headers | {"X-Forwarded-For": f"192.0.2.200, {address}"})

        for _ in range(3):
            assert (await ask("ada", "org-1", "192.0.2.1")).status_code == 200
        assert_limited(await ask("ada", "org-1", "192.0.2.1"), "You have")
        assert (await ask("ben", "org-1", "192.0.2.1")).status_code == 200
        assert (await ask("ben", "org-1", "192.0.2.1")).status_code == 200
        assert_limited(await ask("cid", "org-1", "192.0.2.1"), "Your organization has")
        # The same user id in another organization is another caller.
        assert (await ask("ada", "org-2", "192.0.2.1")).status_code == 200
        assert len(owner.requests) == 6
        forwarded = {"X-Forwarded-For": "192.0.2.1"}
        assert (await client.get("/api/v1/me", headers=forwarded)).status_code == 401
        # The address's limit applies before the token is checked, and without one.
        assert_limited(await client.get("/api/v1/me", headers=forwarded), "Your network address has")
        assert_limited(await client.get("/api/v1/console-settings", headers=forwarded), "Your network address has")
        assert (await ask("ada", "org-2", "192.0.2.2")).status_code == 200


async def test_a_forged_forwarded_address_is_ignored(make_gateway: Any, provider: Any) -> None:
    async with serve(await make_gateway(**LIMITED), ready=False) as client:
        answers = [
            await client.get("/api/v1/me", headers={"X-Forwarded-For": f"192.0.2.{number}"}) for number in range(10)
        ]
    assert [answer.status_code for answer in answers] == [401] * 9 + [429]


async def test_a_call_is_refused_before_its_body_is_read(make_gateway: Any, provider: Any) -> None:
    app = await make_gateway()
    assert [route for route in endpoints(app) if route.path.startswith("/api/v1/people")]
    async with serve(app, ready=False) as client:
        own = [route.path for route in endpoints(app) if route.body_field]  # read by FastAPI
        assert len(own) > 3
        refused = [*((path, b"401") for path in own), ("/api/v1/people/members", b"401")]
        for path, status in (*refused, ("/api/v1/people/members/x/y", b"404")):
            reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
            method = "PUT" if path.endswith("/settings") else "POST"
            writer.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n".encode())
            assert (await asyncio.wait_for(reader.readline(), 10)).split()[1] == status
            writer.close()


async def test_bodies_of_one_organization_leave_room_for_the_others(make_gateway: Any, provider: Any) -> None:
    app = await make_gateway(http_body_budget_bytes=4 * 1024 * 1024)
    async with serve(app, ready=False) as client, AsyncExitStack() as stack:
        # Of somebody who may nothing: the owner would say so, once it has the body.
        token = provider.headers(sub="eve", organization_id="org-9", roles=[])["Authorization"]
        head = (
            f"PUT /api/v1/people/bulk HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\nContent-Length: 8000000\r\n\r\n"
        )
        answers = []
        for _ in range(5):
            reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
            stack.callback(writer.close)
            writer.write(head.encode() + b" " * 900_000)
            answers.append(asyncio.create_task(reader.readline()))
        budget = app.state.bodies.budget
        await eventually(lambda: budget.free < 600_000 or sum(one.done() for one in answers) == 4)
        sent = b'{"first_name": "' + b"x" * 600_000 + b'"}'
        headers = provider.headers() | {"Content-Type": "application/json"}
        assert (await client.post("/api/v1/people/members", content=sent, headers=headers)).status_code == 200
        assert {one.result().split()[1] for one in answers if one.done()} == {b"429"}
        for one in answers:
            one.cancel()
