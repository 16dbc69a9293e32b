"""The whole setup: a simulator with equal churches, people-sync as a process, and organizations."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer

from contracts.events.auth_connection_v1 import ConnectionAuthorized
from contracts.values import AUTH_SERVICE
from pco_simulator.testing import SimulatorProcess
from servicekit.local.process import free_port
from servicekit.testing import KeyRing
from servicekit.testing.databases import Database
from servicekit.testing.facts import publish
from servicekit.testing.time import PATIENCE_SECONDS
from sync_harness.church import Church, Rows, arguments_of, rows_of, write_state
from sync_harness.process import NO_TLS, UNKIND, Service, environment, running
from sync_harness.site import Site
from synckit.testing.lender import Grant, Lender

COPIES = 60


@dataclass(slots=True)
class Stage:
    """The setup shared by modules of tests. Every test takes its own churches."""

    simulator: SimulatorProcess
    service: Service
    database: Database
    kafka: str
    keys: KeyRing
    lender: Lender
    name: str
    free: list[Church] = field(default_factory=list)

    async def site(self, *, connected: bool = False) -> Site:
        """An organization with an unused church; `connected`: the database has the connection already."""
        church = self.free.pop(0)
        organization = f"{self.name}-{church.id}"
        if not connected:
            await connect(self.database, organization, church)
        return Site(organization, church, self.simulator.control, self.database, self.keys, self.service.base_url)

    def grant(self, site: Site) -> Grant:
        """The lender's grant of a site."""
        return self.lender.grants[f"{self.name}/{site.organization_id}"]

    async def move(self, site: Site, church: Church, *, version: int) -> None:
        """Connect the organization with another church of Planning Center."""
        site.church = church
        self.lender.grants[f"{self.name}/{site.organization_id}"] = Grant(church, church.tokens[0], generation=version)
        await self.authorized(site, version=version)
        await site.connected(version)

    async def told(self, site: Site, topic: str, count: int) -> list[tuple[str, dict[str, Any]]]:
        """An organization's first facts: type and body, by time."""
        found: list[tuple[str, dict[str, Any]]] = []
        consumer = AIOKafkaConsumer(
            topic, bootstrap_servers=self.kafka, auto_offset_reset="earliest", isolation_level="read_committed"
        )
        await consumer.start()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while len(found) < count:
                    message = await consumer.getone()
                    body = json.loads(message.value) if message.value else {}
                    if body.get("organization_id") == site.organization_id:
                        found.append((dict(message.headers)["ce_type"].decode(), body))
        finally:
            await consumer.stop()
        return sorted(found, key=lambda fact: str(fact[1]["occurred_at"]))

    def other_application(self, church: Church) -> dict[str, Any]:
        """Arguments for an `httpx.AsyncClient` as another application of the same user, with the same limit."""
        agent = {"User-Agent": "another application (another@example.org)"}
        url = self.simulator.base_url
        return {"base_url": url, "auth": church.secret, "headers": agent, "timeout": 30, "verify": NO_TLS}

    async def authorized(self, site: Site, *, version: int) -> None:
        """Publish auth-service's fact that the organization is connected (again)."""
        await publish(
            self.kafka,
            ConnectionAuthorized(
                organization_id=site.organization_id,
                version=version,
                product="people",
                generation=version,
                state="connected",
                pco_organization_id=site.church.id,
                pco_organization_name="Church",
                pco_person_id=site.church.admin_id,
                occurred_at=datetime.now(UTC),
            ),
            AUTH_SERVICE,
        )


async def connect(database: Database, organization: str, church: Church) -> None:
    """Insert the row that ConnectionAuthorized would create."""
    await database.fetch(
        "INSERT INTO connection (organization_id, pco_organization_id, state, generation, version, pco_person_id) "
        "VALUES ($1, $2, 'connected', 1, 1, $3)",
        organization,
        church.id,
        church.admin_id,
    )


Staging = Callable[..., AbstractAsyncContextManager[Stage]]
"""Takes a name, and what `staged` takes besides."""


@asynccontextmanager
async def staged(
    folder: Path,
    *,
    database: str,
    kafka: str,
    keys: KeyRing,
    lender: Lender,
    rows: Rows | Sequence[Rows] | None = None,
    copies: int = COPIES,
    **more: object,
) -> AsyncIterator[Stage]:
    """A stage with churches of these rows: `copies` equal ones, or one of each. `more`: environment variables."""
    each = [rows or rows_of()] * copies if rows is None or isinstance(rows, Mapping) else list(rows)
    churches = write_state(folder / "churches", each)
    lender.grants |= {f"{folder.name}/{folder.name}-{one.id}": Grant(one, one.tokens[0]) for one in churches}
    with SimulatorProcess(settings=UNKIND, **arguments_of(folder / "churches", len(each))) as simulator:
        env = environment(
            keys,
            database=database,
            kafka=kafka,
            simulator=simulator.base_url,
            auth_service=lender.url_of(folder.name),
            port=free_port(),
            **more,
        )
        async with running(env, folder / "people-sync.log") as service:
            ours = Database(database, keep=True)
            yield Stage(simulator, service, ours, kafka, keys, lender, folder.name, churches)
            await ours.close()
