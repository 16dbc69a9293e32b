"""Drives auth-service in the roles of gateway, other services and a person with a browser."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import asyncpg
import httpx
from aiokafka import AIOKafkaConsumer
from cryptography.fernet import Fernet
from sqlalchemy.engine import make_url

from auth_service.config import Settings
from contracts.base import Event
from contracts.http.auth import LEASE_PATH
from contracts.identity import Role
from contracts.topics import TOPICS
from contracts.values import AUTH_SERVICE, PEOPLE_SYNC
from pco_simulator.testing import SimulatorProcess
from servicekit.local.process import free_port
from servicekit.testing import KeyRing, eventually, preloaded
from servicekit.testing.facts import publish

UNSHARED = httpx.Limits(max_keepalive_connections=0)
"""A kept connection can be closed by the service at the moment at which it is used again."""

TOPIC = "auth.connection.v1"


def make_settings(
    keys: KeyRing, simulator: SimulatorProcess, *, database_url: str, kafka: str, **more: Any
) -> Settings:
    """Settings against the simulator's example application."""
    values = {
        "pco_base_url": simulator.base_url,
        "pco_client_id": simulator.oauth_client.id,
        "pco_client_secret": simulator.oauth_client.secret,
        "pco_redirect_uri": simulator.redirect_uri,
        "token_encryption_keys": Fernet.generate_key().decode(),
        "subscriptions_removed_within_seconds": 60,
        "disconnect_poll_seconds": 0.1,
        **more,
    }
    return keys.settings(Settings, database_url=database_url, kafka=kafka, **values)


@dataclass
class Browser:
    """One browser of one signed-in person."""

    organization_id: str
    user_id: str = "user-1"
    roles: tuple[Role, ...] = ("admin",)
    cookies: dict[str, str] = field(default_factory=dict)


def new_church() -> Browser:
    """An admin's browser, in a church that no other test uses."""
    return Browser(f"church-{uuid4().hex[:8]}")


class Auth:
    """A running auth-service."""

    def __init__(
        self, client: httpx.AsyncClient, keys: KeyRing, simulator: SimulatorProcess, settings: Settings
    ) -> None:
        self.client = client
        self.keys = keys
        self.simulator = simulator
        self.settings = settings

    # -- Planning Center's side -----------------------------------------------------------------------------

    def login(self, church: int = 0, people_permissions: str | None = "Manager") -> str:
        """`organization:person` of a login."""
        organization = self.simulator.control.organizations()[church]
        person = next(each for each in organization["logins"] if each["people_permissions"] == people_permissions)
        return f"{organization['id']}:{person['person_id']}"

    def church_name(self, church: int = 0) -> str:
        """A church's name at Planning Center."""
        return str(self.simulator.control.organizations()[church]["name"])

    async def consent(self, authorize_url: str, login: str, decision: str = "allow") -> dict[str, str]:
        """Consent as a person on the consent page; gives the query of Planning Center's redirect."""
        async with httpx.AsyncClient() as pages:
            page = await pages.get(authorize_url)
            assert page.status_code == 200, page.text
            hidden = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', page.text)
            form = {unescape(name): unescape(value) for name, value in hidden}
            assert form["prompt"] == "select_account"
            assert form["code_challenge_method"] == "S256"
            sent = await pages.post(
                f"{self.simulator.base_url}/oauth/authorize", data={**form, "login": login, "decision": decision}
            )
        assert sent.status_code == 302, sent.text
        return {name: values[0] for name, values in parse_qs(urlsplit(sent.headers["location"]).query).items()}

    # -- the gateway's side ---------------------------------------------------------------------------------

    def headers(self, browser: Browser) -> dict[str, str]:
        """The identity that the gateway signs."""
        return self.keys.user_headers(
            AUTH_SERVICE, organization_id=browser.organization_id, user_id=browser.user_id, roles=browser.roles
        )

    async def call(
        self, browser: Browser, method: str, path: str, json: Any = None, *, ok: bool = True
    ) -> httpx.Response:
        """A call of the platform API as the gateway passes it on, with the browser's attempt cookie."""
        headers = self.headers(browser)
        if browser.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        response = await self.client.request(method, f"/api/v1/connections{path}", json=json, headers=headers)
        browser.cookies.update(response.cookies.items())
        self.client.cookies.clear()
        assert not ok or response.is_success, response.text
        return response

    async def begin(self, browser: Browser, product: str = "people") -> str:
        """The address of the consent page."""
        answer = await self.call(browser, "POST", f"/{product}/authorize")
        return str(answer.json()["authorize_url"])

    async def complete(self, browser: Browser, answer: Mapping[str, str], *, ok: bool = True) -> httpx.Response:
        """Complete with the query of Planning Center's redirect."""
        body = {name: answer[name] for name in ("state", "code", "error") if name in answer}
        return await self.call(browser, "POST", "/complete", body, ok=ok)

    async def connect(self, browser: Browser, product: str = "people", login: str | None = None) -> dict[str, Any]:
        """Connect from authorize to complete; gives the last answer."""
        answer = await self.consent(await self.begin(browser, product), login or self.login())
        completed: dict[str, Any] = (await self.complete(browser, answer)).json()
        return completed

    async def card(self, browser: Browser, product: str = "people") -> dict[str, Any]:
        """One card."""
        card: dict[str, Any] = (await self.call(browser, "GET", "")).json()[product]
        return card

    async def receipt(self, browser: Browser, product: str = "people") -> dict[str, Any]:
        """Wait for the finished receipt."""

        async def finished() -> dict[str, Any] | None:
            body: dict[str, Any] = (await self.call(browser, "GET", f"/{product}/receipt")).json()
            return body if body["finished_at"] else None

        receipt: dict[str, Any] = await eventually(finished)
        return receipt

    # -- the other services' side ---------------------------------------------------------------------------

    async def lease(
        self,
        browser: Browser,
        product: str = "people",
        *,
        failed_generation: int | None = None,
        service: str = PEOPLE_SYNC,
        client: httpx.AsyncClient | None = None,
    ) -> httpx.Response:
        """Ask for a lease in a service's name."""
        token = self.keys.service_token(service, AUTH_SERVICE)
        return await (client or self.client).post(
            LEASE_PATH,
            json={
                "organization_id": browser.organization_id,
                "product": product,
                "failed_generation": failed_generation,
            },
            headers={"Authorization": f"Bearer {token}"},
        )

    async def works(self, access_token: str) -> bool:
        """Whether Planning Center accepts a token."""
        async with httpx.AsyncClient(headers={"User-Agent": "auth-service tests (test@example.org)"}) as client:
            response = await client.get(
                f"{self.simulator.base_url}/people/v2/me", headers={"Authorization": f"Bearer {access_token}"}
            )
        return response.status_code == 200

    # -- its database and its processes ---------------------------------------------------------------------

    async def sql(self, statement: str, *arguments: Any) -> list[dict[str, Any]]:
        """Run a statement in the service's database."""
        connection = await asyncpg.connect(dsn(self.settings))
        try:
            return [dict(row) for row in await connection.fetch(statement, *arguments)]
        finally:
            await connection.close()

    async def lose_locks(self) -> None:
        """Terminate the connections that hold grants' locks, as a failover does."""
        broken = await self.sql(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() "
            "AND query LIKE '%pg_advisory_lock(hashtextextended(''grant:%' AND pid <> pg_backend_pid()"
        )
        assert broken

    async def expire_access_token(self, browser: Browser) -> None:
        """Expire the access tokens, for us and at Planning Center."""
        await self.sql(
            "UPDATE oauth_grant SET expires_at = now() - interval '1 second' WHERE organization_id = $1",
            browser.organization_id,
        )
        self.simulator.control.end_tokens(op="expire", which="access")

    @asynccontextmanager
    async def process(
        self, settings: Settings | None = None, *, output: Path | None = None
    ) -> AsyncIterator["Process"]:
        """`python -m auth_service` on the same database: another replica. `output`: file for its output."""
        process = Process(settings or self.settings, output)
        try:
            await process.start()
            yield process
        finally:
            await process.stop()

    def token_requests(self) -> int:
        """Number of token requests at Planning Center since the simulator's mark."""
        return self.simulator.control.kinds().get("POST /oauth/token", 0)


def dsn(settings: Settings) -> str:
    """The database's URL for asyncpg."""
    url = make_url(settings.database_url.get_secret_value()).set(drivername="postgresql")
    return url.render_as_string(hide_password=False)


def environment(settings: Settings) -> dict[str, str]:
    """Settings as environment variables."""
    values: dict[str, str] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if value is not None:
            values[name.upper()] = str(value.get_secret_value() if hasattr(value, "get_secret_value") else value)
    return values


class Process:
    """A replica in a separate process."""

    def __init__(self, settings: Settings, output: Path | None) -> None:
        self._settings = settings
        self._output = output
        self._process: subprocess.Popen[bytes] | None = None
        self.client = httpx.AsyncClient()

    async def start(self) -> None:
        """Start it and wait until HTTP answers."""
        port = free_port()
        env = {**os.environ, **environment(self._settings), "HTTP_PORT": str(port)}
        command = [sys.executable, "-m", "auth_service"]
        with Path(self._output or os.devnull).open("wb") as output:  # noqa: ASYNC230
            self._process = await asyncio.to_thread(preloaded.spawn, command, env=env, stdout=output)
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, limits=UNSHARED)

        async def answers() -> bool:
            try:
                return (await self.client.get("/livez")).status_code == 200
            except httpx.TransportError:
                return False

        await eventually(answers)

    def kill(self) -> None:
        """End the process by SIGKILL."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    async def stop(self) -> None:
        """End the process by SIGTERM, if it still runs."""
        await self.client.aclose()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            await asyncio.to_thread(self._process.wait, 20)


class Facts:
    """Reads connection facts from Kafka."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._consumer = AIOKafkaConsumer(
            TOPIC,
            bootstrap_servers=bootstrap_servers,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            group_id=None,
        )
        self._seen: list[tuple[str, Event]] = []
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        self._task = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._consumer.stop()

    async def _read(self) -> None:
        async for record in self._consumer:
            headers = {name: value.decode() for name, value in record.headers}
            known = {event.__name__: event for event in TOPICS[TOPIC].events}
            self._seen.append((record.key.decode(), known[headers["ce_type"]].model_validate_json(record.value)))

    def of(self, browser: Browser) -> list[Any]:
        """All facts about a church so far, oldest first."""
        return [event for key, event in self._seen if key == browser.organization_id]

    async def names(self, browser: Browser, *expected: str) -> list[Any]:
        """Wait for exactly these facts and give them."""

        def complete() -> bool:
            names = [f"{event.product}:{type(event).__name__}" for event in self.of(browser)]
            assert names == list(expected)
            return True

        await eventually(complete)
        return self.of(browser)

    async def publish(self, event: Event, source: str) -> None:
        """Publish a fact as another service."""
        await publish(self._bootstrap_servers, event, source)
