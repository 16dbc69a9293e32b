"""The statement over HTTP: who may see it, who may ask, and that a repetition does nothing more."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest_asyncio
from fastapi import FastAPI
from sqlalchemy import select

from contracts.events.auth_connection_v1 import ConnectionAuthorized
from contracts.http.subscriptions import SubscriptionStatement, SubscriptionStatements
from contracts.routes import routes_of
from contracts.values import WEBHOOK_GATEWAY
from servicekit.testing import serve
from servicekit.testing.wiring import endpoints
from webhook_gateway.storage.tables import WebhookKey
from webhook_gateway.usecases.connections import connection_changed


@pytest_asyncio.fixture(loop_scope="session")
async def app(make_gateway: Any) -> FastAPI:
    made: FastAPI = await make_gateway()
    return made


@pytest_asyncio.fixture(loop_scope="session")
async def gateway(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with serve(app, ready=False) as client:
        yield client


async def connected(app: FastAPI, organization: str) -> None:
    fact = ConnectionAuthorized(
        organization_id=organization,
        version=1,
        product="people",
        generation=1,
        state="connected",
        pco_organization_id="77",
        pco_organization_name="First Church",
        pco_person_id="1",
        occurred_at=datetime.now(UTC),
    )
    own = app.state.resources
    async with app.state.runtime.sessions.begin() as session:
        await connection_changed(session, fact, own.settings, own.vault, own.clock)


async def key_of(app: FastAPI, organization: str) -> WebhookKey:
    async with app.state.runtime.sessions() as session:
        found: WebhookKey | None = await session.scalar(select(WebhookKey).filter_by(organization_id=organization))
    assert found is not None
    return found


def test_the_gateway_answers_its_routes_of_the_table(app: FastAPI) -> None:
    answered = {(method, route.path) for route in endpoints(app) for method in route.methods or ()}
    assert {(route.method, route.path) for route in routes_of(WEBHOOK_GATEWAY)} <= answered


async def test_staff_see_the_statement_and_admins_ask(app: FastAPI, gateway: httpx.AsyncClient, provider: Any) -> None:
    organization = f"org-{uuid4()}"
    await connected(app, organization)
    staff = provider.headers(organization_id=organization, roles=["staff"])
    nobody = provider.headers(organization_id=organization, roles=["choir"])
    admin = provider.headers(organization_id=organization)

    assert (await gateway.get("/api/v1/webhooks/status")).status_code == 401
    assert (await gateway.get("/api/v1/webhooks/status", headers=nobody)).status_code == 403
    shown = SubscriptionStatements.model_validate_json(
        (await gateway.get("/api/v1/webhooks/status", headers=staff)).content
    )
    assert (shown.people.state, shown.calendar.state) == ("waiting", "off")
    for action in ("verify", "rotate"):
        path = f"/api/v1/webhooks/people/{action}"
        assert (await gateway.post(path)).status_code == 401
        refused = await gateway.post(path, headers=staff)
        assert (refused.status_code, refused.json()["detail"].count("admin")) == (403, 1)
        answer = await gateway.post(path, headers=admin)
        assert answer.status_code == 202
        assert SubscriptionStatement.model_validate_json(answer.content).product == "people"
    assert (await key_of(app, organization)).rotate_asked_at is not None


async def test_what_is_not_connected_cannot_be_asked_for(gateway: httpx.AsyncClient, provider: Any) -> None:
    answer = await gateway.post(
        "/api/v1/webhooks/calendar/verify", headers=provider.headers(organization_id=f"org-{uuid4()}")
    )
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/not-connected")
    assert "Connect it on the Integrations page" in answer.json()["detail"]
    unknown = await gateway.post("/api/v1/webhooks/groups/verify", headers=provider.headers())
    assert unknown.status_code == 422


async def test_a_repeated_wish_with_its_key_is_carried_out_once(
    app: FastAPI, gateway: httpx.AsyncClient, provider: Any
) -> None:
    organization = f"org-{uuid4()}"
    await connected(app, organization)
    headers = provider.headers(organization_id=organization) | {"Idempotency-Key": str(uuid4())}
    first = await gateway.post("/api/v1/webhooks/people/rotate", headers=headers)
    asked = (await key_of(app, organization)).rotate_asked_at
    again = await gateway.post("/api/v1/webhooks/people/rotate", headers=headers)
    assert (again.status_code, again.content) == (202, first.content)
    assert (await key_of(app, organization)).rotate_asked_at == asked


async def test_one_organization_sees_nothing_of_another(
    app: FastAPI, gateway: httpx.AsyncClient, provider: Any
) -> None:
    await connected(app, f"org-{uuid4()}")
    other = provider.headers(organization_id=f"org-{uuid4()}")
    shown = (await gateway.get("/api/v1/webhooks/status", headers=other)).json()
    assert (shown["people"]["state"], shown["people"]["names"], shown["people"]["gaps"]) == ("off", [], [])


async def test_a_large_body_is_refused_after_the_token(gateway: httpx.AsyncClient, provider: Any) -> None:
    path, large = "/api/v1/webhooks/people/verify", b" " * (1024 * 1024 + 1)
    assert (await gateway.post(path, content=large)).status_code == 401
    assert (await gateway.post(path, content=large, headers=provider.headers())).status_code == 413
