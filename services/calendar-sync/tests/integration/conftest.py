"""calendar-sync on a real PostgreSQL and Kafka: `app` and `client`; and one church's admin without Kafka: `church`.

`linked`: a church connected with one of the simulator, whose clock and jobs the test moves.
"""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio
import stamina
from fastapi import FastAPI

from calendar_sync.config import Settings
from calendar_sync.main import create_app, workers
from calendar_sync.resources import open_resources
from calendar_sync.storage.tables import EventLink
from calendar_sync.usecases import polling
from calendar_sync.usecases.connections import connection_changed
from contracts.events.auth_connection_v1 import ConnectionAuthorized, ConnectionRevoked
from pco_simulator.testing import Control, SimulatorProcess
from servicekit.testing import Databases, FakeClock, KeyRing, serve, unstarted
from synckit.testing.jobs import work_off
from synckit.testing.lender import Grant, Lender, lending

SUPPORT: Final = str(Path(__file__).parents[1] / "support")
if SUPPORT not in sys.path:
    sys.path.insert(0, SUPPORT)

from calendar_harness.churches import NOBODY, PLATFORM, REDIRECT, Church, There, token_of  # noqa: E402

CHURCHES: Final = 120
HORIZON: Final = timedelta(seconds=120)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def app(databases: Databases, kafka_server: str, keys: KeyRing) -> FastAPI:
    """The service with a database of its own."""
    url = await databases.create("calendar_sync")
    return create_app(keys.settings(Settings, database_url=url, kafka=kafka_server, auth_service_url=NOBODY))


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
    settings = keys.settings(
        Settings, database_url=database, kafka="127.0.0.1:1", log_level="WARNING", auth_service_url=NOBODY
    )
    async with unstarted(create_app(settings), open_resources) as app:
        yield app


@pytest.fixture
def church(quiet: FastAPI, keys: KeyRing) -> Church:
    return Church(quiet, keys)


@pytest.fixture
def another(quiet: FastAPI, keys: KeyRing) -> Callable[..., Church]:
    """`another("org-2")`, or somebody else of the church: `another("org-1", "staff")`."""
    return lambda organization_id, role="admin": Church(quiet, keys, organization_id, role)


@pytest.fixture(scope="session")
def simulator() -> Iterator[SimulatorProcess]:
    """Many churches, each for one test, with the calendars that they are seeded with."""
    client = ":".join((*PLATFORM, REDIRECT))
    settings = {"rate_limit": 0}
    with SimulatorProcess(people=10, churches=CHURCHES, oauth_clients=[client], settings=settings) as running:
        yield running


@pytest.fixture(scope="session")
def churches(simulator: SimulatorProcess) -> Iterator[dict[str, Any]]:
    """Those that no test has had, one after the other."""
    return iter(simulator.control.organizations())


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def lender(keys: KeyRing) -> AsyncIterator[Lender]:
    """Stands in for auth-service and lends tokens."""
    async with lending(keys) as made:
        yield made


@dataclass(slots=True)
class Linked:
    """A church here that is connected with one there. Nothing moves by itself: neither the clock nor jobs."""

    here: Church
    there: There
    control: Control
    clock: FakeClock
    grants: dict[str, Grant]
    versions: Iterator[int] = field(default_factory=lambda: count(1))

    async def connected(self, there: There | None = None) -> None:
        """An administrator connects Planning Center, or again."""
        self.there = there or self.there
        self.grants[f"cal/{self.here.organization_id}"] = Grant(self.there, self.there.token)
        await self._fact(ConnectionAuthorized, "connected")

    async def disconnected(self) -> None:
        """And ends that."""
        self.grants[f"cal/{self.here.organization_id}"].usable = False
        await self._fact(ConnectionRevoked, "disconnected")

    async def _fact(self, kind: Any, state: str) -> None:
        number = next(self.versions)
        fact = kind(
            organization_id=self.here.organization_id,
            version=number,
            product="calendar",
            generation=number,
            state=state,
            pco_organization_id=self.there.id,
            pco_organization_name="Church",
            pco_person_id=self.there.admin_id,
            occurred_at=self.clock.now(),
        )
        async with self.here.app.state.runtime.sessions.begin() as session:
            await connection_changed(session, fact)

    async def work(self) -> int:
        """Carry out all jobs."""
        app = self.here.app
        return await work_off(app, workers(app.state.resources.settings))

    async def poll(self, minutes: float = 5) -> int:
        """The clock moves on, and the checks that are due then are carried out."""
        self.clock.advance(timedelta(minutes=minutes))
        async with self.here.app.state.runtime.sessions.begin() as session:
            await polling.start_due(session, self.clock.now())
        return await self.work()

    async def link(self, event: dict[str, Any], pco_event_id: str, instance_id: str | None = None, **more: Any) -> Any:
        """An administrator links an event."""
        body = {"pco_event_id": pco_event_id, "pco_event_instance_id": instance_id}
        return await self.here.call("POST", f"/events/{event['id']}/link", body, **more)

    async def sync(self, event: dict[str, Any]) -> dict[str, Any]:
        """*Sync this event now*, to its end."""
        asked = await self.here.call("POST", f"/events/{event['id']}/sync", status=202)
        await self.work()
        done: dict[str, Any] = await self.here.call("GET", f"/syncs/{asked['id']}")
        return done

    async def event(self, event: dict[str, Any]) -> dict[str, Any]:
        """As it is here now."""
        found: dict[str, Any] = await self.here.call("GET", f"/events/{event['id']}")
        return found

    async def links(self) -> list[EventLink]:
        """The rows."""
        return await self.here.rows(EventLink)

    def create(self, name: str, starts_at: str, ends_at: str | None = None, **more: Any) -> str:
        """Staff of the church create an event there; gives its id."""
        return self.control.create_event(self.there.id, name, starts_at, ends_at, **more)

    def series(self, name: str, starts_at: str, repeats: str = "weekly", **more: Any) -> str:
        """Staff of the church create a series there; gives its id."""
        return self.control.create_series(self.there.id, name, starts_at, repeats, **more)

    def instances(self, pco_event_id: str) -> list[dict[str, Any]]:
        """Occurrences of an event there, by start."""
        event = self.control.event(self.there.id, pco_event_id)
        assert event is not None
        return list(event["instances"])

    def requests(self, after: int = 0) -> list[dict[str, Any]]:
        """Our requests to this church since a sequence number."""
        entries = self.control.journal(after=after, limit=20_000)
        return [one for one in entries if one["organization_id"] == self.there.id]

    def mark(self) -> int:
        """The last request's number."""
        return int(self.control.summary()["last_seq"])


@asynccontextmanager
async def service(
    database: str, keys: KeyRing, simulator: SimulatorProcess, lender: Lender, **values: Any
) -> AsyncIterator[FastAPI]:
    """The service without loops, with a clock that the test moves, at a simulator. `values`: further settings."""
    # Leases and lists use the database's clock, so this one begins there.
    clock = FakeClock(datetime.now(UTC).replace(microsecond=0))
    settings = keys.settings(
        Settings,
        database_url=database,
        kafka=NOBODY.removeprefix("http://"),
        log_level="WARNING",
        auth_service_url=lender.url_of("cal"),
        pco_base_url=simulator.base_url,
        pco_staleness_horizon_seconds=HORIZON.total_seconds(),
        **values,
    )
    async with unstarted(create_app(settings, clock=clock), open_resources) as app:
        yield app
        stamina.set_testing(False)


@pytest_asyncio.fixture
async def linked(
    database: str,
    databases: Databases,
    keys: KeyRing,
    simulator: SimulatorProcess,
    churches: Iterator[dict[str, Any]],
    lender: Lender,
) -> AsyncIterator[Linked]:
    """Connected, with the church's zone known. No loop runs."""
    await databases.truncate(database)
    async with service(database, keys, simulator, lender) as app:
        here, there = Church(app, keys), token_of(simulator, next(churches))
        made = Linked(here, there, simulator.control, app.state.resources.clock, lender.grants)
        await made.connected()
        await made.poll()
        await here.facts()
        yield made
        simulator.control.clear_faults()
        await here.http.aclose()


ZONES: Final = ("America/New_York", "Australia/Lord_Howe", "Europe/London", "America/Sao_Paulo")
"""Of the churches of `connected_in`. That of Lord Howe moves its clocks by half an hour."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def connected_in(
    database: str, databases: Databases, keys: KeyRing, lender: Lender
) -> AsyncIterator[Callable[[str], Awaitable[Linked]]]:
    """`await connected_in("Europe/London")`: as `linked`, each time with an organization of its own."""
    client = ":".join((*PLATFORM, REDIRECT))
    settings = {"rate_limit": 0, "lag_past_ms": 600_000}
    zones = f"--time-zones={','.join(ZONES[1:])}"
    numbers = count(1)
    with SimulatorProcess(
        people=10, churches=len(ZONES) + 2, oauth_clients=[client], settings=settings, arguments=[zones]
    ) as simulator:
        churches = {one["time_zone"]: token_of(simulator, one) for one in simulator.control.organizations()}
        async with service(database, keys, simulator, lender, pco_request_timeout_seconds=2) as app:
            clock = app.state.resources.clock
            began = clock.now()

            async def connected(zone: str) -> Linked:
                await databases.truncate(database)
                clock.advance(began - clock.now())
                here = Church(app, keys, f"org-{next(numbers)}")
                made = Linked(here, churches[zone], simulator.control, clock, lender.grants)
                await made.connected()
                await made.poll()
                return made

            yield connected
