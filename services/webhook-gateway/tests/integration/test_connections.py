"""A closing connection is answered; the projection keeps the newest state."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from cryptography.fernet import Fernet
from fastapi import FastAPI
from sqlalchemy import select

from contracts.events.auth_connection_v1 import (
    ConnectionAuthorized,
    ConnectionClosing,
    ConnectionFact,
    ConnectionRevoked,
)
from contracts.events.webhooks_subscription_v1 import SubscriptionsRemoved
from contracts.values import AUTH_SERVICE
from servicekit.clock import SystemClock
from servicekit.testing import assert_migrated, assert_wiring, eventually, serve
from servicekit.testing.facts import send
from servicekit.vault import Vault
from webhook_gateway.storage.tables import Base, Connection
from webhook_gateway.usecases import connections

NOW = "2026-01-05T12:00:00Z"


def fact(kind: type[ConnectionFact], organization: str, version: int, state: str, generation: int = 1) -> Any:
    return kind(
        organization_id=organization,
        version=version,
        product="people",
        generation=generation,
        state=state,
        pco_organization_id="77",
        pco_organization_name="First Church",
        pco_person_id="1",
        occurred_at=NOW,
    )


@pytest_asyncio.fixture(loop_scope="session")
async def app(make_gateway: Any) -> FastAPI:
    made: FastAPI = await make_gateway()
    return made


@pytest_asyncio.fixture(loop_scope="session")
async def gateway(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Auth-service has no grant, so nothing is asked of Planning Center."""
    async with serve(app, within=60) as client:
        yield client


async def stored(app: FastAPI, organization: str) -> Connection | None:
    async with app.state.runtime.sessions() as session:
        found: Connection | None = await session.scalar(
            select(Connection).where(Connection.organization_id == organization)
        )
        return found


async def test_wiring(app: FastAPI) -> None:
    assert_wiring(app, "webhook-gateway")
    await assert_migrated(app.state.runtime.settings.database_url.get_secret_value(), Base.metadata)


@pytest.mark.usefixtures("gateway")
async def test_a_closing_connection_is_answered_once(app: FastAPI, kafka_server: str) -> None:
    organization = f"org-{uuid4()}"
    async with (
        AIOKafkaProducer(bootstrap_servers=kafka_server) as producer,
        AIOKafkaConsumer(
            "webhooks.subscription.v1",
            bootstrap_servers=kafka_server,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        ) as consumer,
    ):
        await send(producer, fact(ConnectionAuthorized, organization, 1, "connected"), AUTH_SERVICE)
        closing = fact(ConnectionClosing, organization, 2, "closing")
        event_id = str(uuid4())
        await send(producer, closing, AUTH_SERVICE, event_id=event_id)
        await send(producer, closing, AUTH_SERVICE, event_id=event_id)  # the same message twice
        await send(producer, closing, AUTH_SERVICE)  # replayed under another id

        async def is_answered() -> bool:
            found = await stored(app, organization)
            return found is not None and found.subscriptions_version > 0

        await eventually(is_answered)
        await send(producer, fact(ConnectionRevoked, organization, 3, "disconnected"), AUTH_SERVICE)

        async def is_disconnected() -> bool:
            found = await stored(app, organization)
            return found is not None and found.state == "disconnected"

        await eventually(is_disconnected)
        # The second generation's answer marks the end of the first one's.
        await send(producer, fact(ConnectionClosing, organization, 4, "closing", generation=2), AUTH_SERVICE)
        answers: list[SubscriptionsRemoved] = []
        while not answers or answers[-1].generation < 2:
            record = await consumer.getone()
            if record.key == organization.encode():
                answers.append(SubscriptionsRemoved.model_validate_json(record.value))
    assert [(a.generation, a.version, a.removed, a.left_behind) for a in answers] == [(1, 1, 0, ()), (2, 2, 0, ())]


async def test_an_older_state_changes_nothing(app: FastAPI) -> None:
    organization = f"org-{uuid4()}"
    settings, vault, clock = app.state.runtime.settings, Vault([Fernet.generate_key().decode()]), SystemClock()
    sessions = app.state.runtime.sessions
    for state in (
        fact(ConnectionRevoked, organization, 5, "disconnected"),
        fact(ConnectionClosing, organization, 4, "closing"),
    ):
        async with sessions.begin() as session:
            await connections.connection_changed(session, state, settings, vault, clock)
    found = await stored(app, organization)
    assert found is not None
    assert (found.state, found.version, found.subscriptions_version) == ("disconnected", 5, 0)
