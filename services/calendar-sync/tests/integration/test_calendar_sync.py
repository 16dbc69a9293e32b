"""calendar-sync on a real PostgreSQL and a real Kafka."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest_asyncio
from fastapi import FastAPI
from sqlalchemy import select

from calendar_sync.config import Settings
from calendar_sync.main import create_app
from calendar_sync.storage.tables import Base, CalendarConnection
from calendar_sync.usecases.connections import connection_changed
from contracts.events.auth_connection_v1 import (
    ConnectionAuthorized,
    ConnectionClosing,
    ConnectionFact,
    ConnectionRevoked,
)
from contracts.routes import routes_of
from contracts.values import AUTH_SERVICE, CALENDAR_SYNC
from servicekit.testing import Databases, KeyRing, assert_migrated, assert_wiring, eventually, serve
from servicekit.testing.facts import publish

PATH = "/api/v1/calendar/settings"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def app(databases: Databases, kafka_server: str, keys: KeyRing) -> FastAPI:
    """The service with a database of its own."""
    url = await databases.create("calendar_sync")
    return create_app(keys.settings(Settings, database_url=url, kafka=kafka_server))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """The service on a socket, ready."""
    async with serve(app) as running:
        yield running


def fact(kind: type[ConnectionFact], organization_id: str, version: int, **values: Any) -> ConnectionFact:
    states = {ConnectionAuthorized: "connected", ConnectionClosing: "closing", ConnectionRevoked: "disconnected"}
    return kind(
        **{
            "organization_id": organization_id,
            "version": version,
            "product": "calendar",
            "generation": 1,
            "state": states[kind],
            "pco_organization_id": "1",
            "pco_organization_name": "First Church",
            "pco_person_id": "2",
            "occurred_at": datetime.now(UTC),
            **values,
        }
    )


async def state_of(app: FastAPI, organization_id: str) -> str | None:
    async with app.state.runtime.sessions() as session:
        state: str | None = await session.scalar(
            select(CalendarConnection.state).where(CalendarConnection.organization_id == organization_id)
        )
        return state


async def test_wiring(app: FastAPI) -> None:
    assert_wiring(app, CALENDAR_SYNC, not_yet={"webhooks.subscription.v1", "webhooks.delivery.v1"})
    await assert_migrated(app.state.runtime.settings.database_url.get_secret_value(), Base.metadata)
    paths = app.openapi()["paths"]
    ours = {(method.upper(), path) for path, operations in paths.items() for method in operations}
    assert ours == {(route.method, route.path) for route in routes_of(CALENDAR_SYNC)}


async def test_settings_are_each_churchs_own(client: httpx.AsyncClient, keys: KeyRing) -> None:
    church, other = f"church-{uuid4().hex[:8]}", f"church-{uuid4().hex[:8]}"
    admin = keys.user_headers(CALENDAR_SYNC, organization_id=church)
    stranger = keys.user_headers(CALENDAR_SYNC, organization_id=other)
    assert (await client.get(PATH, headers=admin)).json() == {"poll_minutes": 5}
    assert (await client.patch(PATH, json={"poll_minutes": 30}, headers=admin)).json() == {"poll_minutes": 30}
    assert (await client.patch(PATH, json={}, headers=admin)).json() == {"poll_minutes": 30}
    assert (await client.get(PATH, headers=admin)).json() == {"poll_minutes": 30}
    assert (await client.get(PATH, headers=stranger)).json() == {"poll_minutes": 5}
    assert (await client.patch(PATH, json={"poll_minutes": None}, headers=admin)).json() == {"poll_minutes": 5}


async def test_bad_input_and_wrong_people(client: httpx.AsyncClient, keys: KeyRing) -> None:
    admin = keys.user_headers(CALENDAR_SYNC)
    staff = keys.user_headers(CALENDAR_SYNC, roles=("staff",))
    for body in ({"poll_minutes": 0}, {"poll_minutes": 121}, {"poll_minutes": "often"}, {"pol_minutes": 5}):
        assert (await client.patch(PATH, json=body, headers=admin)).status_code == 422, body
    json = {"Content-Type": "application/json"}
    assert (await client.patch(PATH, content=b"{", headers={**admin, **json})).status_code == 400
    assert (await client.patch(PATH, json={"poll_minutes": 5}, headers=staff)).status_code == 403
    assert (await client.get(PATH, headers=staff)).status_code == 200
    assert (await client.get(PATH)).status_code == 401


async def test_the_newest_fact_holds_whatever_the_order(app: FastAPI) -> None:
    church = f"church-{uuid4().hex[:8]}"
    facts = [
        fact(ConnectionAuthorized, church, 1),
        fact(ConnectionClosing, church, 2),
        fact(ConnectionRevoked, church, 3),
    ]
    for each in (facts[1], facts[0], facts[2], facts[1], fact(ConnectionAuthorized, church, 9, product="people")):
        async with app.state.runtime.sessions.begin() as session:
            await connection_changed(session, each)
    assert await state_of(app, church) == "disconnected"


async def test_facts_arrive_by_kafka(app: FastAPI, client: httpx.AsyncClient, kafka_server: str) -> None:
    church = f"church-{uuid4().hex[:8]}"
    await publish(kafka_server, fact(ConnectionAuthorized, church, 1), AUTH_SERVICE)

    async def connected() -> bool:
        return await state_of(app, church) == "connected"

    await eventually(connected)
