"""conflict-service on a real PostgreSQL and a real Kafka."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer
from conflict_support import fact, publish
from fastapi import FastAPI
from sqlalchemy import text

from conflict_service.config import Settings
from conflict_service.main import create_app
from conflict_service.storage.tables import Base
from conflict_service.usecases.record import record
from contracts.events.people_conflict_v1 import (
    ConflictConverged,
    ConflictDetected,
    ConflictFact,
    ConflictWithdrawn,
    ResolutionApplied,
    ResolutionOvertaken,
)
from contracts.routes import routes_of
from contracts.values import CONFLICT_SERVICE, PEOPLE_SYNC
from servicekit.testing import Databases, KeyRing, assert_migrated, assert_wiring, eventually, serve

PATH = "/api/v1/conflicts"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def app(databases: Databases, kafka_server: str, keys: KeyRing) -> FastAPI:
    """The service with a database of its own."""
    url = await databases.create("conflict_service")
    return create_app(keys.settings(Settings, database_url=url, kafka=kafka_server))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """The service on a socket, ready."""
    async with serve(app) as running:
        yield running


@pytest.fixture
def church() -> str:
    """An organization of the test's own."""
    return f"church-{uuid4().hex[:8]}"


async def tell(app: FastAPI, *facts: ConflictFact) -> None:
    """Let the service take facts, one transaction each."""
    for each in facts:
        async with app.state.runtime.sessions.begin() as session:
            await record(session, each)


async def test_wiring(app: FastAPI) -> None:
    assert_wiring(app, CONFLICT_SERVICE)
    await assert_migrated(app.state.runtime.settings.database_url.get_secret_value(), Base.metadata)
    paths = app.openapi()["paths"]
    ours = {(method.upper(), path) for path, operations in paths.items() for method in operations}
    assert ours == {(route.method, route.path) for route in routes_of(CONFLICT_SERVICE)}


async def test_the_version_of_the_values_is_people_syncs(
    app: FastAPI, client: httpx.AsyncClient, keys: KeyRing, church: str
) -> None:
    """Ours counts facts, the one of the values only what somebody decides about."""
    headers = keys.user_headers(CONFLICT_SERVICE, organization_id=church, roles=("staff",))
    values: dict[str, Any] = {"organization_id": church, "conflict_id": uuid4().hex}
    path = f"{PATH}/{values['conflict_id']}"
    for version, values_version in ((1, 1), (2, 1), (3, 2)):
        await tell(app, fact(ConflictDetected, version, values_version=values_version, **values))
        shown = (await client.get(path, headers=headers)).json()
        assert (shown["version"], shown["values_version"]) == (version, values_version)
    await tell(app, fact(ConflictDetected, 2, values_version=1, **values))
    assert (await client.get(path, headers=headers)).json()["values_version"] == 2


async def test_from_kafka_to_the_list_and_back_to_kafka(
    app: FastAPI, client: httpx.AsyncClient, keys: KeyRing, kafka_server: str, church: str
) -> None:
    headers = keys.user_headers(CONFLICT_SERVICE, organization_id=church, roles=("staff",))
    conflict_id = uuid4().hex
    values: dict[str, Any] = {"organization_id": church, "conflict_id": conflict_id}
    consumer = AIOKafkaConsumer(
        "conflicts.conflict.v1",
        bootstrap_servers=kafka_server,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    await consumer.start()
    try:
        await publish(kafka_server, fact(ConflictDetected, 1, **values), PEOPLE_SYNC)

        async def listed() -> Any:
            return (await client.get(PATH, headers=headers)).json()["items"]

        (item,) = await eventually(listed)
        assert (item["id"], item["state"], item["fields"][0]["base"]) == (conflict_id, "open", "Ann")
        assert (await client.get(f"{PATH}/count", headers=headers)).json() == {"open": 1}
        assert (await client.get(f"{PATH}/{conflict_id}", headers=headers)).json() == item

        await publish(kafka_server, fact(ConflictConverged, 2, **values), PEOPLE_SYNC)

        async def none_open() -> bool:
            return bool((await client.get(f"{PATH}/count", headers=headers)).json() == {"open": 0})

        await eventually(none_open)
        announced: list[tuple[str, bool]] = []
        async with asyncio.timeout(15):
            while len(announced) < 3:
                message = await consumer.getone()
                if message.key == conflict_id.encode():
                    names = {name: value.decode() for name, value in message.headers}
                    announced.append((names["ce_type"], message.value is None))
        assert announced == [("ConflictOpened", False), ("ConflictClosed", False), ("ConflictClosed", True)]
    finally:
        await consumer.stop()


async def test_out_of_order_and_repeated(app: FastAPI, client: httpx.AsyncClient, keys: KeyRing, church: str) -> None:
    headers = keys.user_headers(CONFLICT_SERVICE, organization_id=church)
    values: dict[str, Any] = {"organization_id": church}
    detected, applied = fact(ConflictDetected, 1, **values), fact(ResolutionApplied, 2, **values)
    await tell(app, applied, detected, applied, detected)
    assert (await client.get(f"{PATH}/conflict", headers=headers)).json()["state"] == "resolved"
    assert (await client.get(f"{PATH}/count", headers=headers)).json() == {"open": 0}
    await tell(app, fact(ResolutionOvertaken, 3, **values, ours="Hanna"), applied)
    conflict = (await client.get(f"{PATH}/conflict", headers=headers)).json()
    assert (conflict["state"], conflict["fields"][0]["ours"]) == ("open", "Hanna")


async def test_withdrawn(app: FastAPI, client: httpx.AsyncClient, keys: KeyRing, church: str) -> None:
    headers = keys.user_headers(CONFLICT_SERVICE, organization_id=church)
    values: dict[str, Any] = {"organization_id": church}
    await tell(app, fact(ConflictDetected, 1, **values), fact(ConflictWithdrawn, 2, **values))
    assert (await client.get(f"{PATH}/count", headers=headers)).json() == {"open": 0}
    (listed,) = (await client.get(f"{PATH}?state=withdrawn", headers=headers)).json()["items"]
    assert (listed["id"], listed["state"]) == ("conflict", "withdrawn")


async def test_at_the_same_time(app: FastAPI, church: str) -> None:
    """A rebalance can hand two facts of one conflict to two members: one row, the newest state."""
    facts = [fact(ConflictDetected, version, organization_id=church, ours=str(version)) for version in range(1, 9)]
    await asyncio.gather(*(tell(app, each) for each in facts))
    async with app.state.runtime.sessions() as session:
        found = await session.execute(
            text("SELECT source_version, fields->0->>'ours' FROM conflict WHERE organization_id = :church"),
            {"church": church},
        )
        assert [tuple(row) for row in found] == [(8, "8")]


async def test_pages_filters_and_totals(app: FastAPI, client: httpx.AsyncClient, keys: KeyRing, church: str) -> None:
    headers = keys.user_headers(CONFLICT_SERVICE, organization_id=church)
    for number in range(7):
        family = ("even", f"f-{number}") if number % 2 == 0 else ()
        await tell(
            app,
            # Two at the same instant: the id decides, so that no page can lose or repeat one.
            fact(
                ConflictDetected,
                1,
                organization_id=church,
                conflict_id=f"c{number}",
                family_ids=family,
                minutes=number // 2,
            ),
        )
    await tell(app, fact(ResolutionApplied, 2, organization_id=church, conflict_id="c1", minutes=9))
    seen: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = (await client.get(PATH, headers=headers, params={"limit": "2", **after})).json()
        assert page["total"] == 6
        seen += [item["id"] for item in page["items"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert seen == ["c6", "c5", "c4", "c3", "c2", "c0"]
    even = (await client.get(PATH, headers=headers, params={"family_id": "even"})).json()
    assert [item["id"] for item in even["items"]] == ["c6", "c4", "c2", "c0"]
    one = (await client.get(PATH, headers=headers, params={"record_id": "member-of-c3"})).json()
    assert (one["total"], [item["id"] for item in one["items"]]) == (1, ["c3"])
    resolved = (await client.get(PATH, headers=headers, params={"state": "resolved"})).json()
    assert [item["id"] for item in resolved["items"]] == ["c1"]


async def test_bad_input_and_other_churches(
    app: FastAPI, client: httpx.AsyncClient, keys: KeyRing, church: str
) -> None:
    await tell(app, fact(ConflictDetected, 1, organization_id=church))
    headers = keys.user_headers(CONFLICT_SERVICE, organization_id=church)
    for params in (
        {"after": "nonsense"},
        {"after": "WyIyMDI2LTAxLTA1VDEyOjAwOjAwIiwiYyJd"},  # an instant without an offset
        {"after": "WzEsMl0="},
        {"after": "ä"},
        {"limit": "0"},
        {"state": "closed"},
        {"sate": "open"},
    ):
        answer = await client.get(PATH, headers=headers, params=params)
        assert answer.status_code == 422, (params, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
    stranger = keys.user_headers(CONFLICT_SERVICE, organization_id=f"{church}-other")
    assert (await client.get(f"{PATH}/conflict", headers=stranger)).status_code == 404
    assert (await client.get(f"{PATH}/conflict", headers=headers)).status_code == 200
    assert (await client.get(PATH, headers=stranger)).json()["items"] == []
    assert (await client.get(f"{PATH}/count", headers=stranger)).json() == {"open": 0}
    assert (await client.get(PATH)).status_code == 401
