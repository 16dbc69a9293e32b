"""`church`, `another("org-2")`: a church's admin at the API of a people-sync on a real PostgreSQL.

`site`, `sites`, `stage`: people-sync as a process between organizations and churches of the simulator.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from uuid import UUID, uuid4

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from sqlalchemy import insert, select

from people_sync.config import Settings
from people_sync.domain.merge import MergePolicy
from people_sync.main import create_app
from people_sync.resources import open_resources
from people_sync.storage.tables import Connection, Link
from people_sync.usecases.record.writer import Cause, Writer
from servicekit.jobs.worker import JobContext
from servicekit.testing import Databases, KeyRing, eventually, unstarted
from servicekit.testing.facts import take

SUPPORT = str(Path(__file__).parents[1] / "support")
if SUPPORT not in sys.path:
    sys.path.insert(0, SUPPORT)

from sync_harness.process import LAG, UNKIND  # noqa: E402
from sync_harness.site import Site, keep_reading  # noqa: E402
from sync_harness.stage import Stage, Staging, staged  # noqa: E402

from synckit.testing.lender import Lender, lending  # noqa: E402 - after the path is set

PEOPLE: Final = "/api/v1/people"
SPARE_CHURCHES: Final = 10
"""Of a stage, for tests that take more than one."""
ANN: Final = {
    "first_name": "Ann",
    "last_name": "Smith",
    "birthdate": "1990-02-03",
    "gender": "Female",
    "phone": "+1 212 555 0143",
    "address": {"street_line_1": "1 Main St", "city": "Springfield", "zip": "12345"},
}


@pytest_asyncio.fixture(scope="session")
async def database(databases: Databases) -> str:
    """A migrated database, emptied before each test."""
    return await databases.create("people_sync")


@pytest_asyncio.fixture
async def app(database: str, databases: Databases, keys: KeyRing) -> AsyncIterator[FastAPI]:
    """The app without its lifespan, so that no relay empties the outbox and no worker starts."""
    await databases.truncate(database)
    settings = keys.settings(
        Settings, database_url=database, kafka="127.0.0.1:1", auth_service_url="http://auth.test", log_level="WARNING"
    )
    async with unstarted(create_app(settings), open_resources) as app:
        yield app


class Church:
    """An organization's admin at the API, and the organization's rows."""

    def __init__(self, app: FastAPI, keys: KeyRing, organization_id: str = "org-1") -> None:
        self.app = app
        self.organization_id = organization_id
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://people-sync",
            headers=keys.user_headers("people-sync", organization_id=organization_id),
        )

    async def call(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        answer = await self.http.request(method, PEOPLE + path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    async def add(self, **values: Any) -> dict[str, Any]:
        added: dict[str, Any] = await self.call("POST", "/members", ANN | values, status=201)
        return added

    async def names(self, query: str) -> list[str]:
        return [one["first_name"] for one in (await self.call("GET", f"/members?{query}"))["items"]]

    async def events(self) -> list[tuple[str, str, Any]]:
        """Take the outbox's messages: (type, key, body), body None for a tombstone."""
        return await take(self.app.state.runtime.sessions)

    async def store(self, table: Any, *rows: dict[str, Any]) -> None:
        async with self.app.state.runtime.sessions.begin() as session:
            for row in rows:
                await session.execute(insert(table).values({"organization_id": self.organization_id} | row))

    async def rows(self, table: Any) -> list[Any]:
        async with self.app.state.runtime.sessions.begin() as session:
            found = await session.scalars(select(table).where(table.organization_id == self.organization_id))
            return list(found.all())

    async def connect(self) -> None:
        await self.store(
            Connection,
            {
                "pco_organization_id": "77",
                "state": "active",
                "generation": 1,
                "version": 1,
                "pco_person_id": "1",
                "country_code": "US",
            },
        )

    async def link(self, record_id: str, pco_id: str, **values: Any) -> None:
        await self.store(
            Link,
            {"pco_organization_id": "77", "kind": "member", "record_id": UUID(record_id), "pco_id": pco_id}
            | {"state": "linked", "agreed": {}, "kept_different": {}, "contacts": {}, "compared_version": 1}
            | {"create_again": False}
            | values,
        )


@pytest_asyncio.fixture
async def another(app: FastAPI, keys: KeyRing) -> AsyncIterator[Callable[[str], Awaitable[Church]]]:
    """Makes the church of an organization's id."""
    made: list[Church] = []

    async def make(organization_id: str) -> Church:
        made.append(Church(app, keys, organization_id))
        return made[-1]

    yield make
    for church in made:
        await church.http.aclose()


@pytest_asyncio.fixture
async def church(another: Callable[[str], Awaitable[Church]]) -> Church:
    """The church `org-1`."""
    return await another("org-1")


class _Unclaimed(JobContext):
    """A job without a row, whose lease is never lost."""

    async def verify(self, session: Any) -> None:
        return


@pytest.fixture
def writer(app: FastAPI) -> Writer:
    """The writer of a run of `org-1`, without Planning Center."""
    sessions = app.state.runtime.sessions
    return Writer(
        job=_Unclaimed(uuid4(), "people.sync", "org-1", {}, None, fence=1, sessions=sessions, lease_seconds=60),
        resources=app.state.resources,
        pco=SimpleNamespace(),  # type: ignore[arg-type]
        organization_id="org-1",
        pco_organization_id="77",
        cause=Cause("run", uuid4()),
        policy=MergePolicy(),
        chosen=True,
    )


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def lender(keys: KeyRing) -> AsyncIterator[Lender]:
    """Stands in for auth-service and lends tokens."""
    async with lending(keys) as made:
        yield made


@pytest.fixture(scope="session")
def staging(
    tmp_path_factory: pytest.TempPathFactory, databases: Databases, kafka_server: str, keys: KeyRing, lender: Lender
) -> Staging:
    """Makes a stage for a block, from its name and the settings that differ from the defaults."""

    @asynccontextmanager
    async def one(name: str, **other: Any) -> AsyncIterator[Stage]:
        folder = tmp_path_factory.mktemp(name)
        database = await databases.create("people_sync")
        async with staged(folder, database=database, kafka=kafka_server, keys=keys, lender=lender, **other) as made:
            yield made

    return one


class SharedStage:
    """The stage shared by the modules without a stage of their own, one module after another."""

    def __init__(self) -> None:
        self._running = AsyncExitStack()
        self._made: Stage | None = None

    async def with_churches(self, count: int, staging: Staging) -> Stage:
        """The stage of the previous module if it has that many unused churches, else a new one."""
        if self._made is None or len(self._made.free) < count:
            await self.close()
            self._made = await self._running.enter_async_context(staging("stage"))
        return self._made

    async def close(self) -> None:
        self._made = None
        await self._running.aclose()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared() -> AsyncIterator[SharedStage]:
    """The shared stage's keeper, for `stage`."""
    made = SharedStage()
    yield made
    await made.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session", autouse=True)
async def alone(request: pytest.FixtureRequest, shared: SharedStage) -> None:
    """Close the shared stage before a module that makes its own. Stages with different databases share a consumer
    group, so the wrong one could take a message.
    """
    used = {name for item in request.session.items if item.path == request.path for name in item.fixturenames}  # type: ignore[attr-defined]
    if "staging" in used and "shared_by_modules" not in used:
        await shared.close()


@pytest.fixture(scope="session")
def shared_by_modules(shared: SharedStage, staging: Staging) -> Callable[[int], Awaitable[Stage]]:
    """The shared stage, with enough unused churches."""
    return lambda count: shared.with_churches(count, staging)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stage(request: pytest.FixtureRequest, shared_by_modules: Callable[[int], Awaitable[Stage]]) -> Stage:
    """One people-sync and one simulator with many small churches. Modules share the stage, but never a church."""
    tests = sum(item.path == request.path for item in request.session.items)
    return await shared_by_modules(tests + SPARE_CHURCHES)


@pytest_asyncio.fixture(loop_scope="session")
async def site(stage: Stage) -> AsyncIterator[Site]:
    """An organization connected to its own church, whose user also works with another application."""
    made = await stage.site()
    async with httpx.AsyncClient(**stage.other_application(made.church)) as other:
        reading = asyncio.create_task(keep_reading(other))
        yield made
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading


@pytest.fixture
def sites(stage: Stage) -> Callable[[], Awaitable[Site]]:
    """Makes as many organizations with their own churches as a test needs."""
    return stage.site


@pytest_asyncio.fixture(loop_scope="session")
async def quiet(stage: Stage) -> AsyncIterator[None]:
    """For tests of what is *not* read again: nobody edits in Planning Center meanwhile, and reads show all earlier
    edits.
    """
    stage.simulator.control.change_settings(background_edits_per_second=0)
    shown = time.monotonic() + max(LAG.values()) / 1000
    await eventually(lambda: time.monotonic() > shown)
    yield
    stage.simulator.control.change_settings(background_edits_per_second=UNKIND["background_edits_per_second"])
