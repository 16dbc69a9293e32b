"""An identity provider and an owner as real HTTP servers, and the gateway between them."""

import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cryptography.fernet import Fernet
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from contracts.http.auth import LEASE_PATH
from servicekit.testing import Databases, KeyRing, serve
from webhook_gateway.config import Settings
from webhook_gateway.intake_app import create_intake_app
from webhook_gateway.main import create_app

SUPPORT = str(Path(__file__).parent / "support")
if SUPPORT not in sys.path:
    sys.path.insert(0, SUPPORT)

AUDIENCE = "church-platform"
Answer = Callable[[Request], Awaitable[Response]]


@dataclass
class IdentityProvider:
    """Signs tokens and publishes keys; a test can change both."""

    issuer: str = ""
    key: ECKey | RSAKey = field(default_factory=lambda: ECKey.generate_key("P-256", {"kid": "one"}))
    published: list[dict[str, Any]] = field(default_factory=list)
    away: bool = False
    reads: int = 0

    def token(
        self, *, key: ECKey | RSAKey | None = None, kid: str | None = "", typ: str | None = "at+jwt", **claims: Any
    ) -> str:
        """A token of an administrator of `org-1`; `claims`, `kid` and `typ` replace its own, None removes one."""
        now = int(time.time())
        own = {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "sub": "ada",
            "name": "Ada Moreno",
            "email": "ada@example.org",
            "organization_id": "org-1",
            "organization_name": "First Church",
            "roles": ["admin", "choir"],
            "iat": now,
            "exp": now + 300,
        }
        kept = {name: value for name, value in (own | claims).items() if value is not None}
        signing = key or self.key
        algorithm = "RS256" if isinstance(signing, RSAKey) else "ES256"
        header = {"alg": algorithm} | ({} if kid is None else {"kid": kid or signing.kid})
        header |= {} if typ is None else {"typ": typ}
        return jwt.encode(header, kept, signing)

    def headers(self, **claims: Any) -> dict[str, str]:
        """`token` as a request header."""
        return {"Authorization": f"Bearer {self.token(**claims)}"}

    def app(self) -> FastAPI:
        """Discovery and keys."""
        app = FastAPI()

        @app.get("/jwks.json")
        async def jwks() -> Response:
            self.reads += 1
            if self.away:
                return Response(status_code=500)
            return JSONResponse({"keys": self.published or [self.key.as_dict(private=False)]})

        @app.get("/.well-known/openid-configuration")
        async def discovery() -> Response:
            return JSONResponse(
                {
                    "issuer": self.issuer,
                    "authorization_endpoint": f"{self.issuer}/authorize",
                    "token_endpoint": f"{self.issuer}/token",
                }
            )

        return app


@dataclass
class Received:
    """A request as received by the owner."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Owner:
    """All owners in one: records requests and answers as the test says."""

    requests: list[Received] = field(default_factory=list)
    answer: Answer | None = None

    def app(self) -> FastAPI:
        """Answers everything."""
        app = FastAPI(openapi_url=None)

        @app.post(LEASE_PATH)
        async def nothing_to_lend() -> Response:
            # Facts of other tests begin the care of subscriptions here, which ends with this.
            return JSONResponse({}, 409)

        @app.api_route("/{path:path}", methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
        async def take(request: Request) -> Response:
            self.requests.append(
                Received(
                    request.method,
                    request.scope["raw_path"].decode(),
                    request.url.query,
                    dict(request.headers),
                    await request.body(),
                )
            )
            if self.answer:
                return await self.answer(request)
            return JSONResponse({"from": "owner"})

        return app


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def edges() -> AsyncIterator[tuple[IdentityProvider, Owner, str]]:
    """Both servers, running, and the owner's address."""
    provider, owner = IdentityProvider(), Owner()
    async with AsyncExitStack() as stack:
        provider.issuer = str((await stack.enter_async_context(serve(provider.app()))).base_url).rstrip("/")
        address = str((await stack.enter_async_context(serve(owner.app()))).base_url).rstrip("/")
        yield provider, owner, address


@pytest.fixture
def provider(edges: tuple[IdentityProvider, Owner, str]) -> IdentityProvider:
    """The identity provider in its initial state."""
    found = edges[0]
    found.published, found.away, found.reads = [], False, 0
    return found


@pytest.fixture
def owner(edges: tuple[IdentityProvider, Owner, str]) -> Owner:
    """The owner in its initial state."""
    edges[1].requests.clear()
    edges[1].answer = None
    return edges[1]


MakeGateway = Callable[..., Awaitable[FastAPI]]


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def make_gateway(
    edges: tuple[IdentityProvider, Owner, str], databases: Databases, keys: KeyRing, kafka_server: str
) -> MakeGateway:
    """A gateway between both servers, not started; keyword arguments replace settings. `create`: another app of it."""
    provider, _, address = edges

    async def make(**more: Any) -> FastAPI:
        overrides = {name: more.pop(name) for name in ("span_processor", "clock") if name in more}
        create = more.pop("create", create_app)
        kafka = more.pop("kafka", kafka_server)
        url = more.pop("database_url", None) or await databases.create("webhook_gateway")
        values = {
            "auth_service_url": address,
            "people_sync_url": address,
            "conflict_service_url": address,
            "calendar_sync_url": address,
            "identity_issuer": provider.issuer,
            "identity_jwks_url": f"{provider.issuer}/jwks.json",
            "identity_audience": AUDIENCE,
            "console_client_id": "console",
            "webhook_encryption_keys": Fernet.generate_key().decode(),
            **more,
        }
        made: FastAPI = create(keys.settings(Settings, database_url=url, kafka=kafka, **values), **overrides)
        return made

    return make


@pytest.fixture
def make_intake(make_gateway: MakeGateway) -> MakeGateway:
    """The intake, not started, at a Kafka that does not exist; keyword arguments replace settings."""

    async def make(**more: Any) -> FastAPI:
        return await make_gateway(create=create_intake_app, **{"kafka": "127.0.0.1:1", **more})

    return make


def pytest_make_parametrize_id(val: object) -> str | None:
    """Names of parameters that are dictionaries."""
    return json.dumps(val) if isinstance(val, dict) else None
