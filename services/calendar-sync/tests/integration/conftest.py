"""calendar-sync on a real PostgreSQL and Kafka: `app` and `client`; and one church's admin without Kafka: `church`."""

from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import httpx
import orjson
import pytest
import pytest_asyncio
from fastapi import FastAPI
from sqlalchemy import select

from calendar_sync.config import Settings
from calendar_sync.main import create_app
from calendar_sync.resources import open_resources
from servicekit.db.tables import OUTBOX
from servicekit.testing import Databases, KeyRing, serve

CALENDAR: Final = "/api/v1/calendar"
COFFEE: Final = {
    "title": "Coffee after church",
    "starts_at": "2026-03-01T10:30:00-05:00",
    "ends_at": "2026-03-01T11:30:00-05:00",
    "time_zone": "America/New_York",
    "location": "Hall",
    "recurrence": "FREQ=WEEKLY;COUNT=4",
}


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


@pytest_asyncio.fixture(scope="session")
async def database(databases: Databases) -> str:
    """Migrated; emptied before each test."""
    return await databases.create("calendar_sync")


@pytest_asyncio.fixture
async def quiet(database: str, databases: Databases, keys: KeyRing) -> AsyncIterator[FastAPI]:
    """Without its lifespan: no relay takes what the outbox has."""
    await databases.truncate(database)
    app = create_app(keys.settings(Settings, database_url=database, kafka="127.0.0.1:1", log_level="WARNING"))
    async with open_resources(app.state.runtime) as own:
        app.state.resources = own
        yield app
    await app.state.runtime.engine.dispose()
    await app.state.runtime.http.aclose()


class Church:
    """One organization's admin at the API, and its rows."""

    def __init__(self, app: FastAPI, keys: KeyRing, organization_id: str = "org-1", role: str = "admin") -> None:
        self.app = app
        self.organization_id = organization_id
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://calendar-sync",
            headers=keys.user_headers("calendar-sync", organization_id=organization_id, roles=(role,)),
        )

    async def call(self, method: str, path: str, body: Any = None, *, status: int = 200, **more: Any) -> Any:
        answer = await self.http.request(method, CALENDAR + path, json=body, **more)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    async def add(self, **values: Any) -> dict[str, Any]:
        added: dict[str, Any] = await self.call("POST", "/events", COFFEE | values, status=201)
        return added

    async def faults(self, method: str, path: str, body: Any) -> dict[str, str]:
        problem = await self.call(method, path, body, status=422)
        return {one["field"].removeprefix("body."): one["message"] for one in problem["errors"]}

    async def occurrences(self, **query: Any) -> list[dict[str, Any]]:
        """All pages of a window."""
        found: list[dict[str, Any]] = []
        page: dict[str, Any] = {"next": None}
        while page["next"] or not found:
            params = query | ({"after": page["next"]} if page["next"] else {})
            page = await self.call("GET", "/occurrences", params=params)
            found += page["items"]
            if page["next"] is None:
                break
        return found

    async def facts(self) -> list[tuple[str, str, Any]]:
        """Takes what is in the outbox: (type, key, body), body None for a tombstone."""
        async with self.app.state.runtime.sessions.begin() as session:
            rows = (await session.execute(select(OUTBOX).order_by(OUTBOX.c.id))).all()
            await session.execute(OUTBOX.delete())
        return [
            (row.headers["ce_type"], row.key, orjson.loads(row.value) if row.value is not None else None)
            for row in rows
        ]

    async def rows(self, table: Any) -> list[Any]:
        async with self.app.state.runtime.sessions.begin() as session:
            found = await session.scalars(select(table).where(table.organization_id == self.organization_id))
            return list(found.all())

    async def history(self, event: dict[str, Any]) -> list[tuple[str, Any, Any]]:
        """Oldest first."""
        items = (await self.call("GET", f"/events/{event['id']}/history"))["items"]
        return [(one["field"], one["old"], one["new"]) for one in reversed(items)]


@pytest.fixture
def church(quiet: FastAPI, keys: KeyRing) -> Church:
    return Church(quiet, keys)


@pytest.fixture
def another(quiet: FastAPI, keys: KeyRing) -> Callable[..., Church]:
    """`another("org-2")`, or somebody else of the church: `another("org-1", "staff")`."""
    return lambda organization_id, role="admin": Church(quiet, keys, organization_id, role)
