"""calendar-sync on a real PostgreSQL and a real Kafka."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest
from aiokafka import AIOKafkaConsumer
from fastapi import FastAPI
from sqlalchemy import select

from calendar_sync.storage.tables import Base, CalendarConnection
from calendar_sync.usecases import republish as republishing
from calendar_sync.usecases.connections import connection_changed
from contracts.base import Event
from contracts.events.auth_connection_v1 import (
    ConnectionAuthorized,
    ConnectionClosing,
    ConnectionFact,
    ConnectionRevoked,
)
from contracts.events.calendar_event_v1 import EventChanged, EventRemoved
from contracts.routes import routes_of
from contracts.values import AUTH_SERVICE, CALENDAR_SYNC
from servicekit.testing import KeyRing, assert_migrated, assert_wiring, eventually
from servicekit.testing.facts import publish

PATH = "/api/v1/calendar/settings"
RETREAT = {"first_day": "2026-03-06", "last_day": "2026-03-08", "time_zone": "America/New_York"}
KINDS: dict[str, type[Event]] = {"EventChanged": EventChanged, "EventRemoved": EventRemoved}


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
    assert_wiring(app, CALENDAR_SYNC)
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


async def test_events_reach_their_topic_and_are_told_again(
    app: FastAPI, client: httpx.AsyncClient, kafka_server: str, keys: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(republishing, "AT_ONCE", 1)
    events = "/api/v1/calendar/events"
    added: list[dict[str, Any]] = []
    async with AIOKafkaConsumer(
        "calendar.event.v1", bootstrap_servers=kafka_server, auto_offset_reset="earliest", enable_auto_commit=False
    ) as consumer:

        async def told(count: int) -> list[tuple[str, int | None]]:
            """Title, or type, and version; of a tombstone None."""
            found: list[tuple[str, int | None]] = []
            while len(found) < count:
                taken = await consumer.getmany(timeout_ms=10_000)
                assert taken, found
                for records in taken.values():
                    for record in records:
                        body = json.loads(record.value) if record.value else {}
                        kind = dict(record.headers)["ce_type"].decode()
                        assert record.key.decode() in {one["id"] for one in added}
                        if body:
                            KINDS[kind].model_validate(body)
                        found.append((body.get("event", {}).get("title", kind), body.get("version")))
            return sorted(found, key=str)

        for church, title in (("told-1", "Kept"), ("told-2", "Other"), ("told-1", "Gone")):
            admin = keys.user_headers(CALENDAR_SYNC, organization_id=church)
            answer = await client.post(events, json=RETREAT | {"title": title}, headers=admin)
            added.append(answer.json())
        admin = keys.user_headers(CALENDAR_SYNC, organization_id="told-1")
        assert (await client.delete(f"{events}/{added[2]['id']}", headers=admin)).status_code == 204
        removal: list[tuple[str, int | None]] = [("EventRemoved", 2), ("EventRemoved", None)]
        assert await told(5) == [*removal, ("Gone", 1), ("Kept", 1), ("Other", 1)]
        await republishing.republish(app.state.runtime.settings)
        assert await told(4) == [*removal, ("Kept", 1), ("Other", 1)]
